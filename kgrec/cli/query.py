"""Commands that ask a graph: Cypher, SPARQL, named queries, nearest nodes."""

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


@query_app.command()
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


@query_app.command()
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


@query_app.command()
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


def _warm_up(graph: str) -> None:
    """Start the process that a query on an embedded graph runs in while the graph is opened."""
    from kgrec._util.query_process import warm_up
    from kgrec.store.uri import GraphUri

    uri = GraphUri.parse(graph)
    if uri.exists and not uri.is_server:
        warm_up()


def _parameters(pairs: list[str] | None) -> dict[str, Any]:
    return {name: _value(value) for name, value in map(name_and_value, pairs or ())}


def _value(text: str) -> Any:
    """A parameter is a string unless it is written as a JSON number, list, true, false or null."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
