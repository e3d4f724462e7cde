"""Commands that query a graph: Cypher, SPARQL, named queries, nearest nodes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import kgrec
from kgrec.cli.options import (
    Graph,
    Json,
    K,
    Params,
    RowLimit,
    TimeLimit,
    Unsafe,
    name_and_value,
)
from kgrec.cli.output import show

query_app = typer.Typer()


@query_app.command()
def cypher(
    graph: Graph,
    query: Annotated[str, typer.Argument(help="Cypher query.")],
    param: Params = None,
    write: Annotated[bool, typer.Option("--write", help="Allow the query to change the graph.")] = False,
    unsafe: Unsafe = False,
    time_limit: TimeLimit = 120,
    row_limit: RowLimit = 10_000,
    as_json: Json = False,
) -> None:
    """Run a Cypher query on an embedded graph or on Neo4j."""
    _warm_up(graph)
    with kgrec.open(graph, read_only=not write) as store:
        frame = store.cypher(
            query, _parameters(param), write=write, unsafe=unsafe, time_limit=time_limit, row_limit=row_limit
        )
    show(frame, as_json)


@query_app.command()
def sparql(
    graph: Graph,
    query: Annotated[str, typer.Argument(help="SPARQL query, or update with --write.")],
    param: Params = None,
    write: Annotated[bool, typer.Option("--write", help="Run an update, which changes the graph.")] = False,
    unsafe: Unsafe = False,
    time_limit: TimeLimit = 120,
    row_limit: RowLimit = 10_000,
    as_json: Json = False,
) -> None:
    """Run a SPARQL query on an RDF graph; the schema's prefixes are declared."""
    _warm_up(graph)
    with kgrec.open(graph, read_only=not write) as store:
        frame = store.sparql(
            query, _parameters(param), write=write, unsafe=unsafe, time_limit=time_limit, row_limit=row_limit
        )
    show(frame, as_json)


@query_app.command()
def explore(
    graph: Graph,
    name: Annotated[str | None, typer.Argument(help="Name of a query. Default: list all queries.")] = None,
    param: Params = None,
    as_json: Json = False,
) -> None:
    """List or run the packaged queries for exploring a graph."""
    from kgrec.query.named import named_queries, run_named

    if name is None:
        return show(named_queries(), as_json)
    _warm_up(graph)
    with kgrec.open(graph, read_only=True) as store:
        show(run_named(store, name, _parameters(param)), as_json)


@query_app.command()
def nearest(
    graph: Graph,
    text: Annotated[str | None, typer.Option(help="Text to compare the nodes with.")] = None,
    node: Annotated[str | None, typer.Option(help="Key of a node to compare the others with.")] = None,
    label: Annotated[str | None, typer.Option(help="Label to search. Default: the first item label.")] = None,
    k: K = 10,
    as_json: Json = False,
) -> None:
    """Find the nodes whose text vectors are most similar (cosine) to a text or to another node."""
    from kgrec.query.similar import nearest_nodes

    with kgrec.open(graph, read_only=True) as store:
        show(nearest_nodes(store, text=text, node=node, label=label, k=k), as_json)


def _warm_up(graph: str) -> None:
    """Start the query process of an embedded graph in advance, while the graph is being opened."""
    from kgrec._util.query_process import warm_up
    from kgrec.store.uri import GraphUri

    uri = GraphUri.parse(graph)
    if uri.exists and not uri.is_server:
        warm_up()


def _parameters(pairs: list[str] | None) -> dict[str, Any]:
    return {name: _value(value) for name, value in map(name_and_value, pairs or ())}


def _value(text: str) -> Any:
    """Return the parsed value of JSON (number, list, true, false, null), else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
