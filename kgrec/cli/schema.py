"""Commands on schemas: propose, adopt and translate them."""

from __future__ import annotations

from typing import Annotated

import typer

import kgrec
from kgrec.cli.options import (
    Graph,
    Json,
)
from kgrec.cli.output import show_facts
from kgrec.errors import UsageError

schema_app = typer.Typer(help="Propose, adopt and translate schemas.", no_args_is_help=True)


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
