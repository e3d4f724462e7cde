"""Commands that infer, adopt and translate schemas."""

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

schema_app = typer.Typer(help="Infer, adopt and translate schemas.", no_args_is_help=True)


@schema_app.command("infer")
def schema_infer(graph: Graph, as_json: Json = False) -> None:
    """Infer a schema from a Neo4j database that kgrec did not load; print it as YAML for editing."""
    from kgrec._util.safe_yaml import read_yaml
    from kgrec.store.neo4j.infer_schema import infer_schema
    from kgrec.store.neo4j.store import Neo4jStore

    with kgrec.open(graph, read_only=True) as store:
        if not isinstance(store, Neo4jStore):
            raise UsageError(f"{graph} was loaded by kgrec and has a schema. Expected a Neo4j database: neo4j://HOST")
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
    """Attach a schema to an existing Neo4j database; `kgrec unpublish` removes everything kgrec adds to it."""
    from kgrec.store.neo4j.infer_schema import adopt
    from kgrec.store.neo4j.store import Neo4jStore

    with kgrec.open(graph) as store:
        if not isinstance(store, Neo4jStore):
            raise UsageError(f"{graph} was loaded by kgrec. Expected a Neo4j database: neo4j://HOST")
        adopt(store, kgrec.Schema.load(schema))
    show_facts(f"{graph} is ready. Run: kgrec train {graph}", {"schema": schema}, as_json)


@schema_app.command("shacl")
def schema_shacl(
    schema: Annotated[str, typer.Argument(help="Schema file or name.", show_default=False)], as_json: Json = False
) -> None:
    """Print a schema as SHACL shapes in Turtle."""
    from kgrec.rdf.shacl import shapes

    text = shapes(kgrec.Schema.load(schema))
    if as_json:
        return show_facts("", {"shapes": text}, as_json)
    print(text)
