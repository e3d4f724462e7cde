"""The `kgrec` command. Every command is one library call, shown as a table or as JSON.

Exit codes: 0 done, 1 failed, or an audit or a search for traces found something; the others are in `kgrec/errors.py`.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from kgrec._util.files import reason
from kgrec._util.logs import lines_on_stderr
from kgrec._util.memory import ran_out
from kgrec._util.notices import notices, to_stderr
from kgrec._util.streams import tell
from kgrec.cli.data import data_app
from kgrec.cli.jobs import jobs_app
from kgrec.cli.options import Json, Runs
from kgrec.cli.output import show_facts
from kgrec.cli.query import query_app
from kgrec.cli.recommend import recommend_app
from kgrec.cli.runs import runs_app
from kgrec.cli.schema import schema_app
from kgrec.cli.train import train_app
from kgrec.errors import KgrecError, UnknownUser, UsageError, exit_code

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (data_app, query_app, train_app, recommend_app, jobs_app):
    app.add_typer(commands)
app.add_typer(runs_app, name="runs")
app.add_typer(schema_app, name="schema")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"kgrec {version('kgrec')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which kgrec this is.")
    ] = False,
    near_users: Annotated[
        bool, typer.Option("--near-users", help="Where a user is unknown, name users whose ids are like it.")
    ] = False,
) -> None:
    """A recommender engine whose center is a knowledge graph."""
    context.with_resource(notices(to_stderr))
    context.with_resource(lines_on_stderr())
    context.ensure_object(dict)["near_users"] = near_users


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's graph and runs go.")] = Path("demo"),
    source: Annotated[str | None, typer.Option(help="A local ml-100k folder; fetched if not given.")] = None,
    cross_domain: Annotated[
        bool, typer.Option("--cross-domain", help="Instead: two domains, films and books, on packaged made-up data.")
    ] = False,
) -> None:
    """Run the whole main job on ml-100k with its knowledge graph."""
    from kgrec.cli.demo import run_cross_domain_demo, run_demo

    if cross_domain and source:
        raise UsageError("--source is of ml-100k; --cross-domain has its own data")
    if cross_domain:
        return run_cross_domain_demo(folder)
    run_demo(folder, source)


@app.command()
def doctor(
    graph: Annotated[str | None, typer.Argument(help="Instead: a graph, to be checked with its runs.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Check that everything kgrec needs is there and works, or that a graph and its runs are what was written."""
    from kgrec.cli.doctor import examine, examine_graph

    facts, healthy = examine_graph(graph, runs) if graph else examine()
    show_facts(f"{graph or 'kgrec'} is {'healthy' if healthy else 'NOT healthy'}", facts, as_json)
    if not healthy:
        raise typer.Exit(1)


def main() -> None:
    """Run the command; a user's mistake is one message on stderr, never a traceback."""
    asked: dict[str, bool] = {}
    try:
        app(obj=asked)
    except (KgrecError, OSError) as error:
        if ran_out(error):
            raise  # to where what other libraries say of it comes too
        if isinstance(error, OSError):
            tell(f"error: {error.filename or 'the system'}: {reason(error)}")
            sys.exit(1)
        tell(f"error: {error}{_near(error) if asked.get('near_users') else ''}")
        sys.exit(exit_code(error))


def _near(error: KgrecError) -> str:
    """Return a line that names the users whose ids are like an unknown one."""
    return f"\nusers with ids like it: {', '.join(error.near()) or 'none'}" if isinstance(error, UnknownUser) else ""
