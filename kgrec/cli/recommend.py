"""Commands that recommend items, find similar ones, and explain recommendations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import kgrec
from kgrec.cli.options import (
    Graph,
    Json,
    K,
    Runs,
    ServedRun,
)
from kgrec.cli.output import show, show_facts, show_text
from kgrec.errors import UsageError
from kgrec.ranking.conditions import parse_conditions

recommend_app = typer.Typer()


@recommend_app.command()
def recommend(
    graph: Graph,
    users: Annotated[list[str] | None, typer.Argument(help="User ids.")] = None,
    text: Annotated[str | None, typer.Option(help="Search text, instead of users.")] = None,
    k: K = 10,
    items: Annotated[list[str] | None, typer.Option("--item", help="Recommend only this item; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Never recommend this item; repeatable.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Filter: property=value, or >=, >, <=, < for a range; repeatable.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Only items of this domain.")] = None,
    on_unknown: Annotated[str, typer.Option(help="For unknown users: raise, or popular items.")] = "raise",
    run: ServedRun = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Recommend items to users or for a search text."""
    if (text is None) == (not users):
        raise UsageError(f"found {'users and' if users else 'neither users nor'} --text. Expected one of them")
    model, conditions = _model(graph, run, runs), parse_conditions(where)
    chosen: dict[str, Any] = {"items": items, "exclude": exclude, "where": conditions, "domain": domain, "names": True}
    if text is not None:
        frame = model.recommend_for_text(text, k, **chosen)
    else:
        frame = model.recommend(users, k, on_unknown=on_unknown, **chosen)  # type: ignore[arg-type]
    if frame.empty and not as_json:
        return show_text("No recommendations: no item matches the filters, or the users have already seen every match.")
    show(frame, as_json)


@recommend_app.command()
def similar(
    graph: Graph,
    items: Annotated[list[str], typer.Argument(help="Item ids.", show_default=False)],
    k: K = 10,
    where: Annotated[
        list[str] | None, typer.Option(help="Filter: property=value, or >=, >, <=, < for a range; repeatable.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Only items of this domain.")] = None,
    run: ServedRun = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Find the items that are most similar to given items, by the model of a run."""
    frame = _model(graph, run, runs).similar_items(items, k, where=parse_conditions(where), domain=domain, names=True)
    show(frame, as_json)


@recommend_app.command()
def explain(
    graph: Graph,
    user: Annotated[str, typer.Argument(help="User id.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
    run: ServedRun = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Explain why an item is recommended to a user: contributions by signal, and paths in the graph."""
    explanation = _model(graph, run, runs).explain(user, item)
    if as_json:
        return show_facts("", explanation.to_dict(), as_json)
    show_text(str(explanation))


def _model(graph: str, run: str | None, runs: Path | None) -> kgrec.Recommender:
    from kgrec.runs.folder import find_run, runs_folder
    from kgrec.runs.publications import latest

    root = runs_folder(graph, runs)
    return kgrec.Recommender.load(find_run(root, run or latest(root)).folder)
