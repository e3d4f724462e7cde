"""The `kgrec` command. Every command is one library call, shown as a table or as JSON.

Exit codes: 0 done, 1 failed, or an audit or a search for traces found something; the others are in `kgrec/errors.py`.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

import kgrec
from kgrec._util.files import atomic_path, check_target, reason
from kgrec._util.logs import lines_on_stderr
from kgrec._util.memory import ran_out
from kgrec._util.notices import notices, to_stderr
from kgrec._util.streams import tell
from kgrec.cli.jobs import jobs_app
from kgrec.cli.options import Graph, Json, K, Params, RowLimit, RunName, Runs, SchemaFile, ServedRun, TimeLimit, Unsafe
from kgrec.cli.output import show, show_facts, show_text
from kgrec.config import Config
from kgrec.errors import KgrecError, RunError, UnknownUser, UsageError, exit_code

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
runs_app = typer.Typer(help="List, show and remove runs.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
app.add_typer(jobs_app)
schema_app = typer.Typer(help="Propose, adopt and translate schemas.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|>|<|=)(.*)", re.DOTALL)
ROWS_OF_A_KIND = 20
"""Findings of a kind that a person is shown, the largest first; JSON has all."""


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
    from kgrec.cli.demo import run_demo
    from kgrec.cli.demo_cross_domain import run_cross_domain_demo

    if cross_domain and source:
        raise UsageError("--source is of ml-100k; --cross-domain has its own data")
    if cross_domain:
        return run_cross_domain_demo(folder)
    run_demo(folder, source)


@app.command()
def load(
    loader: Annotated[str, typer.Argument(help="atomic, tables, movielens, rdf, or one of yours.")],
    source: Annotated[str, typer.Argument(help="What the loader reads.")],
    into: Annotated[str, typer.Option("--into", help="The graph to write to; made if it is not there.")],
    schema: SchemaFile = None,
    as_json: Json = False,
) -> None:
    """Load a source into a graph; loading the same data twice changes nothing."""
    with kgrec.open_graph(into, create=True) as graph:
        tables = kgrec.load(loader, source, into=graph, schema=schema)
    show_facts(f"loaded into {into}", tables.counts(), as_json)


@app.command()
def check(
    loader: Annotated[str, typer.Argument(help="atomic, tables, movielens, rdf or yours; for --noise, a graph.")],
    source: Annotated[str | None, typer.Argument(help="What the loader reads; nothing for --noise.")] = None,
    schema: SchemaFile = None,
    write_schema: Annotated[Path | None, typer.Option(help="Write the schema here, to be edited.")] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Instead of a source, check the behaviors of a graph that is loaded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a source without writing anything but, on request, its schema; or a graph for noise."""
    if noise and not (source or schema or write_schema):
        return _show_noise(loader, as_json)
    if noise or source is None:
        raise UsageError("expected kgrec check LOADER SOURCE, or only a graph: kgrec check GRAPH --noise")
    from kgrec.store.load import check_source

    if write_schema:
        check_target(write_schema)
    tables = check_source(loader, source, schema=schema)
    if write_schema:
        with atomic_path(write_schema) as made:
            made.write_text(tables.schema.to_yaml(), encoding="utf-8")
    show_facts(f"{source} is in order", tables.counts(), as_json)


@app.command()
def cypher(
    graph: Graph,
    query: Annotated[str, typer.Argument(help="The query.")],
    param: Params = None,
    write: Annotated[bool, typer.Option("--write", help="Allow the query to change the graph.")] = False,
    unsafe: Unsafe = False,
    time_limit: TimeLimit = 120,
    row_limit: RowLimit = 10_000,
    as_json: Json = False,
) -> None:
    """Run a Cypher query, on an embedded graph or on Neo4j."""
    _warm_up(graph)
    with kgrec.open_graph(graph, read_only=not write) as store:
        frame = store.cypher(
            query, _parameters(param), write=write, unsafe=unsafe, time_limit=time_limit, row_limit=row_limit
        )
    show(frame, as_json)


@app.command()
def sparql(
    graph: Graph,
    query: Annotated[str, typer.Argument(help="The query, or with --write an update.")],
    param: Params = None,
    write: Annotated[bool, typer.Option("--write", help="It is an update that changes the graph.")] = False,
    unsafe: Unsafe = False,
    time_limit: TimeLimit = 120,
    row_limit: RowLimit = 10_000,
    as_json: Json = False,
) -> None:
    """Run a SPARQL query on an RDF graph; the schema's prefixes are known in it."""
    _warm_up(graph)
    with kgrec.open_graph(graph, read_only=not write) as store:
        frame = store.sparql(
            query, _parameters(param), write=write, unsafe=unsafe, time_limit=time_limit, row_limit=row_limit
        )
    show(frame, as_json)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(help="The graph to copy.", show_default=False)],
    target: Annotated[str, typer.Argument(help="The graph to write to, of any engine.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Copy a graph to another engine, and check that both are equal."""
    from kgrec.jobs.copy import copy_graph

    show_facts(f"copied to {target}", copy_graph(source, target), as_json)


@app.command()
def export(
    graph: Graph,
    file: Annotated[Path, typer.Argument(help="A .ttl, .nq or .nt file, with .gz if wanted.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Write a graph as RDF; `kgrec load rdf` reads it back as it was."""
    from kgrec.rdf.export import check_export
    from kgrec.rdf.export import export as export_rdf

    check_export(file)
    with kgrec.open_graph(graph, read_only=True) as store:
        export_rdf(store.read(), file)
    show_facts(f"written: {file}", {"bytes": file.stat().st_size}, as_json)


@app.command()
def explore(
    graph: Graph,
    name: Annotated[str | None, typer.Argument(help="A named query; lists them if not given.")] = None,
    param: Params = None,
    as_json: Json = False,
) -> None:
    """List or run the named queries a data scientist starts with."""
    from kgrec.query.named import named_queries, run_named

    if name is None:
        return show(named_queries(), as_json)
    _warm_up(graph)
    with kgrec.open_graph(graph, read_only=True) as store:
        show(run_named(store, name, _parameters(param)), as_json)


@app.command()
def train(
    graph: Graph,
    split: Annotated[
        str | None, typer.Option(help="none, random, time, last or given; given if marked, else random.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    k: K = 100,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Train on a graph, measure on what was held out, and keep the result as a run."""
    from kgrec.jobs.train import train_run

    run = train_run(graph, Config.read(config, settings or ()), split=split, k=k, runs=runs)
    summary, measured = run.info["summary"], run.info["metrics"]
    if as_json:
        return show_facts("", {"run": run.name, **summary, "metrics": measured}, as_json)
    show_facts(f"run {run.name}", summary, as_json)
    if measured:
        _show_metrics(measured, as_json)


@app.command()
def evaluate(
    graph: Graph,
    protocol: Annotated[
        str | None,
        typer.Option(help="warm, cold-user, cold-item, cold-target or cross-domain: train anew on such a cut."),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    run: RunName = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Measure a run on its held-out behaviors, or how well a protocol is met; the hybrid beside each single signal."""
    from kgrec.jobs.train import evaluate_protocol, evaluate_run

    if protocol is None and settings:
        raise UsageError("--set needs --protocol: a run keeps the settings that it was trained with")
    if protocol and run:
        raise UsageError("--run and --protocol: found both; a protocol trains anew, so leave out one of them")
    if protocol:
        measured = evaluate_protocol(graph, protocol, Config.read(None, settings or ()))
    else:
        measured = evaluate_run(graph, run, runs)
    if not as_json:
        show_text(f"{measured['protocol']}; {measured['users']:,} questions, one for a user and domain")
    _show_metrics(measured, as_json)


@app.command()
def benchmark(
    folder: Annotated[Path, typer.Argument(help="Atomic benchmark files: NAME.train.inter, NAME.test.inter …")],
    fit_on: Annotated[str, typer.Option(help="train, or train+valid.")] = "train",
    k: Annotated[str, typer.Option("--k", help="Cut-offs, comma-separated.")] = "10,20",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for recommendations.parquet and metrics.json.")] = Path("benchmark"),
    as_json: Json = False,
) -> None:
    """Measure kgrec with its defaults on benchmark files, ready to be scored by others."""
    from kgrec.jobs.benchmark import run_benchmark, seeds_table

    result = run_benchmark(folder, fit_on=fit_on, ks=_whole_numbers(k), seeds=seeds, out=out)
    if as_json:
        return show_facts("", result, as_json)
    _show_metrics(result["metrics"], as_json)
    if seeds > 1:
        show_text(f"\nmean ± standard deviation of {seeds} seeds")
        show(seeds_table(result), as_json)
    show_text(f"\nwritten: {out / 'recommendations.parquet'}, {out / 'metrics.json'}")


@app.command()
def recommend(
    graph: Graph,
    users: Annotated[list[str] | None, typer.Argument(help="User ids.")] = None,
    text: Annotated[str | None, typer.Option(help="Instead of users: what somebody looks for, in words.")] = None,
    k: K = 10,
    items: Annotated[list[str] | None, typer.Option("--item", help="Recommend only these items; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Never recommend this item; repeatable.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only items with property=value, or '>=', '<' and the like; repeatable.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Only items of this domain.")] = None,
    on_unknown: Annotated[str, typer.Option(help="raise, or popular: what an unknown user gets.")] = "raise",
    run: ServedRun = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Recommend items to users, or for a text."""
    if (text is None) == (not users):
        raise UsageError(f"found {'users and' if users else 'neither users nor'} --text; expected one of them")
    model, conditions = _model(graph, run, runs), _conditions(where)
    chosen: dict[str, Any] = {"items": items, "exclude": exclude, "where": conditions, "domain": domain, "names": True}
    if text is not None:
        frame = model.recommend_for_text(text, k, **chosen)
    else:
        frame = model.recommend(users, k, on_unknown=on_unknown, **chosen)  # type: ignore[arg-type]
    if frame.empty and not as_json:
        return show_text("nothing to recommend: no item is as asked for, or users have all that are")
    show(frame, as_json)


@app.command()
def similar(
    graph: Graph,
    items: Annotated[list[str], typer.Argument(help="Item ids.", show_default=False)],
    k: K = 10,
    where: Annotated[
        list[str] | None, typer.Option(help="Only items with property=value, or '>=', '<' and the like; repeatable.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Only items of this domain.")] = None,
    run: ServedRun = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Find the items that a run takes for most like some."""
    found = _model(graph, run, runs).similar_items(items, k, where=_conditions(where), domain=domain, names=True)
    show(found, as_json)


@app.command()
def nearest(
    graph: Graph,
    text: Annotated[str | None, typer.Option(help="Nodes whose text is like this.")] = None,
    node: Annotated[str | None, typer.Option(help="Nodes like this one: its key.")] = None,
    label: Annotated[str | None, typer.Option(help="Label to search; the first item label if not given.")] = None,
    k: K = 10,
    as_json: Json = False,
) -> None:
    """Find the nodes whose text is nearest to a text or to another node, by the vectors in the graph."""
    from kgrec.query.similar import nearest_nodes

    with kgrec.open_graph(graph, read_only=True) as store:
        show(nearest_nodes(store, text=text, node=node, label=label, k=k), as_json)


@app.command()
def explain(
    graph: Graph,
    user: Annotated[str, typer.Argument(help="User id.")],
    item: Annotated[str, typer.Argument(help="Item id.")],
    run: ServedRun = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Say why an item would be recommended to a user: shares by signal, and paths in the graph."""
    explanation = _model(graph, run, runs).explain(user, item)
    if as_json:
        return show_facts("", explanation.to_dict(), as_json)
    show_text(str(explanation))


@runs_app.command("list")
def runs_list(graph: Graph, runs: Runs = None, as_json: Json = False) -> None:
    """List the runs of a graph, oldest first; fails if one cannot be read."""
    from kgrec.jobs.train import runs_folder
    from kgrec.runs.folder import unreadable_runs
    from kgrec.runs.tables import runs_table

    root = runs_folder(graph, runs)
    table, unreadable = runs_table(root), unreadable_runs(root)
    if not table.empty or as_json:
        show(table, as_json)
    elif not unreadable:
        return show_text(f"no run in {root}; train one: kgrec train {graph}")
    if unreadable:
        raise RunError("\n".join(map(str, unreadable.values())))


@runs_app.command("show")
def runs_show(
    graph: Graph,
    run: Annotated[str | None, typer.Argument(help="Name of a run; the newest if not given.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Show what a run is made of: settings, choices, metrics; --json shows all that it keeps."""
    from kgrec.jobs.train import runs_folder
    from kgrec.runs.folder import find_run
    from kgrec.runs.tables import run_facts
    from kgrec.training.report import blends_table, classification_table, domains_table, rerank_table, tried_table

    found = find_run(runs_folder(graph, runs), run)
    if as_json:
        return show_facts(found.name, {"run": found.name, **found.info, "choices": found.choices}, as_json)
    show_facts(f"run {found.name}", run_facts(found), as_json)
    if found.info.get("metrics"):
        _show_metrics(found.info["metrics"], as_json)
    choices = found.choices
    show(tried_table(choices), as_json)
    show(blends_table(choices), as_json)
    if choices.get("domains"):
        show(domains_table(choices), as_json)
    if choices.get("rerank"):
        show(rerank_table(choices), as_json)
        show(classification_table(choices), as_json)


@runs_app.command("track")
def runs_track(
    graph: Graph,
    run: Annotated[str | None, typer.Argument(help="Name of a run; the newest if not given.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder that TensorBoard reads.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="URI of an MLflow server.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Log what a run measured in TensorBoard or MLflow, once however often this is called."""
    from kgrec.jobs.train import runs_folder
    from kgrec.runs.folder import find_run
    from kgrec.runs.tracking import to_mlflow, to_tensorboard

    if tensorboard is None and mlflow is None:
        raise UsageError("nowhere to log to; expected --tensorboard FOLDER, --mlflow URI or both")
    found = find_run(runs_folder(graph, runs), run)
    logged = {
        **({"TensorBoard": to_tensorboard(found, tensorboard)} if tensorboard else {}),
        **({"MLflow": to_mlflow(found, mlflow, graph)} if mlflow else {}),
    }
    told = {where: "logged" if new else "was there already" for where, new in logged.items()}
    show_facts(f"run {found.name}", told, as_json)


@runs_app.command("prune")
def runs_prune(
    graph: Graph,
    keep: Annotated[int, typer.Option("--keep", help="How many of the newest runs stay.")],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Remove all runs but the newest, the published one and the one published before it."""
    from kgrec.jobs.rollback import prune_runs

    show_facts(f"runs of {graph}", prune_runs(graph, keep, runs), as_json)


@schema_app.command("infer")
def schema_infer(graph: Graph, as_json: Json = False) -> None:
    """Propose a schema for a Neo4j database that kgrec did not load, as YAML to be edited."""
    from kgrec._util.safe_yaml import read_yaml
    from kgrec.store.neo4j.infer_schema import infer_schema
    from kgrec.store.neo4j.store import Neo4jStore

    with kgrec.open_graph(graph, read_only=True) as store:
        if not isinstance(store, Neo4jStore):
            raise UsageError(f"{graph} is kgrec's own and has a schema; expected a Neo4j database, neo4j://HOST")
        text = infer_schema(store)
    if as_json:
        return show_facts("", read_yaml(text), as_json)
    print(text)


@schema_app.command("adopt")
def schema_adopt(
    graph: Graph,
    schema: Annotated[str, typer.Argument(help="Schema file or name.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Use a Neo4j database as it is, with a schema; `kgrec unpublish` removes all that kgrec puts there."""
    from kgrec.store.neo4j.infer_schema import adopt
    from kgrec.store.neo4j.store import Neo4jStore

    with kgrec.open_graph(graph) as store:
        if not isinstance(store, Neo4jStore):
            raise UsageError(f"{graph} is kgrec's own; expected a Neo4j database, neo4j://HOST")
        adopt(store, kgrec.Schema.load(schema))
    show_facts(f"{graph} can be trained on: kgrec train {graph}", {"schema": schema}, as_json)


@schema_app.command("shacl")
def schema_shacl(
    schema: Annotated[str, typer.Argument(help="Schema file or name.", show_default=False)], as_json: Json = False
) -> None:
    """Print a schema as SHACL shapes, in Turtle."""
    from kgrec.rdf.shacl import shapes

    text = shapes(kgrec.Schema.load(schema))
    if as_json:
        return show_facts("", {"shapes": text}, as_json)
    print(text)


@app.command()
def encoders(
    measure: Annotated[bool, typer.Option("--measure", help="Encode a few texts with each: texts a second.")] = False,
    as_json: Json = False,
) -> None:
    """List the text models that are here, packaged or in the Hugging Face cache, and what each costs."""
    from kgrec.text.list_models import encoders_table

    show(encoders_table(measure), as_json)


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


def _show_noise(graph: str, as_json: bool) -> None:
    from kgrec.data.noise import noise, summary

    with kgrec.open_graph(graph, read_only=True) as store:
        snapshot = store.snapshot()
    found = noise(snapshot)
    facts = summary(snapshot, found)
    if as_json:
        return show_facts("", {"summary": facts, "found": found.to_dict("records")}, as_json)
    show_facts(f"noise in {graph}", facts, as_json)
    if len(found):
        show(found.groupby("kind", sort=False).head(ROWS_OF_A_KIND), as_json)


def _model(graph: str, run: str | None, runs: Path | None) -> kgrec.Recommender:
    from kgrec.jobs.train import runs_folder
    from kgrec.runs.folder import find_run
    from kgrec.runs.publications import latest

    root = runs_folder(graph, runs)
    return kgrec.Recommender.load(find_run(root, run or latest(root)).folder)


def _show_metrics(metrics: dict[str, Any], as_json: bool) -> None:
    from kgrec.evaluation.evaluate import metrics_table

    if as_json:
        return show_facts("", metrics, as_json)
    show(metrics_table(metrics), as_json)


def _warm_up(graph: str) -> None:
    """Start the process that a query on an embedded graph runs in while the graph is opened."""
    from kgrec._util.query_process import warm_up
    from kgrec.store.uri import GraphUri

    uri = GraphUri.parse(graph)
    if uri.exists and not uri.is_server:
        warm_up()


def _parameters(pairs: list[str] | None) -> dict[str, Any]:
    return {name: _value(value) for name, value in map(_pair, pairs or ())}


def _conditions(texts: list[str] | None) -> dict[str, Any] | None:
    """Return conditions on properties of items, as `Recommender.recommend` takes them; values of a name are a list."""
    found: dict[str, Any] = {}
    for text in texts or ():
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise UsageError(f"found --where {text!r}; expected property=value, or >=, >, <= or < instead of =")
        name, operator, value = match.groups()
        known = found.setdefault(name, [] if operator == "=" else {})
        if isinstance(known, list) != (operator == "=") or operator in known:
            raise UsageError(f"found --where {text!r} beside another of {name}; expected values or one range")
        if operator == "=":
            known.append(value)
        else:
            known[operator] = value
    return found or None


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"found {text!r}; expected name=value")
    return name.strip(), value


def _value(text: str) -> Any:
    """A parameter is a string unless it is written as a JSON number, list, true, false or null."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--k {text!r}; expected whole numbers, such as 10,20") from None
