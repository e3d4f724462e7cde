"""Commands that load, check, copy and export a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import kgrec
from kgrec._util.files import atomic_path, check_target
from kgrec.cli.options import (
    Graph,
    Json,
    SchemaFile,
)
from kgrec.cli.output import show_facts

data_app = typer.Typer()


@data_app.command()
def load(
    loader: Annotated[str, typer.Argument(help="Loader: atomic, tables, movielens, rdf, or a plug-in.")],
    source: Annotated[str, typer.Argument(help="Folder, file or URL that the loader reads.")],
    into: Annotated[str, typer.Option("--into", help="Graph to write to; created if missing.")],
    schema: SchemaFile = None,
    as_json: Json = False,
) -> None:
    """Load a source into a graph. Safe to re-run: the same data change nothing."""
    with kgrec.open(into, create=True) as graph:
        tables = kgrec.load(loader, source, into=graph, schema=schema)
    show_facts(f"loaded into {into}", tables.counts(), as_json)


@data_app.command()
def check(
    loader: Annotated[str, typer.Argument(help="Loader: atomic, tables, movielens, rdf, or a plug-in.")],
    source: Annotated[str, typer.Argument(help="Folder, file or URL that the loader reads.")],
    schema: SchemaFile = None,
    write_schema: Annotated[Path | None, typer.Option(help="File to write the schema to, for editing.")] = None,
    as_json: Json = False,
) -> None:
    """Check a source without loading it; optionally write its schema to a file."""
    from kgrec.store.load import check_source

    if write_schema:
        check_target(write_schema)
    tables = check_source(loader, source, schema=schema)
    if write_schema:
        with atomic_path(write_schema) as made:
            made.write_text(tables.schema.to_yaml(), encoding="utf-8")
    show_facts(f"{source} is in order", tables.counts(), as_json)


@data_app.command()
def copy(
    source: Annotated[str, typer.Argument(help="Graph to copy.", show_default=False)],
    target: Annotated[str, typer.Argument(help="Graph to write to, of any engine.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Copy a graph to another engine and verify that both are equal."""
    from kgrec.jobs.copy import copy_graph

    show_facts(f"copied to {target}", copy_graph(source, target), as_json)


@data_app.command()
def export(
    graph: Graph,
    file: Annotated[Path, typer.Argument(help="A .ttl, .nq or .nt file, optionally .gz.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Export a graph as RDF; `kgrec load rdf` restores it without loss."""
    from kgrec.rdf.export import check_export
    from kgrec.rdf.export import export as export_rdf

    check_export(file)
    with kgrec.open(graph, read_only=True) as store:
        export_rdf(store.read(), file)
    show_facts(f"written: {file}", {"bytes": file.stat().st_size}, as_json)
