"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.errors import UsageError

Graph = Annotated[
    str, typer.Argument(help="The graph: shop.lbug, oxigraph:FOLDER or neo4j://HOST.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunName = Annotated[str | None, typer.Option("--run", help="Name or folder of a run; the newest if not given.")]
ServedRun = Annotated[
    str | None, typer.Option("--run", help="Name or folder of a run; the published one, else the newest, if not given.")
]
Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of runs; beside the graph if not given.")]
SchemaFile = Annotated[str | None, typer.Option("--schema", help="Schema file or name; derived if not given.")]
Params = Annotated[list[str] | None, typer.Option("--param", help="Query parameter as name=value; repeatable.")]
TimeLimit = Annotated[float, typer.Option(help="Seconds the query may take.", min=0.001)]
Unsafe = Annotated[
    bool, typer.Option("--unsafe", help="Allow the query all that the engine can do: files, network, extensions.")
]
RowLimit = Annotated[int, typer.Option(help="Rows it may return.", min=1)]
K = Annotated[int, typer.Option("--k", help="Length of a list.")]


def name_and_value(text: str) -> tuple[str, str]:
    """Return the two parts of `name=value`.

    Raises:
        UsageError: there is no equals sign.
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"found {text!r}; expected name=value")
    return name.strip(), value
