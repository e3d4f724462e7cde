"""Arguments and options of several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.errors import UsageError

Graph = Annotated[str, typer.Argument(help="Graph: shop.lbug, oxigraph:FOLDER or neo4j://HOST.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunName = Annotated[str | None, typer.Option("--run", help="Name or folder of a run. Default: the newest.")]
ServedRun = Annotated[
    str | None, typer.Option("--run", help="Name or folder of a run. Default: the live run, else the newest.")
]
Runs = Annotated[Path | None, typer.Option("--runs", help="Folder of runs. Default: beside the graph.")]
SchemaFile = Annotated[str | None, typer.Option("--schema", help="Schema file or name. Default: inferred.")]
Params = Annotated[list[str] | None, typer.Option("--param", help="Query parameter as name=value; repeatable.")]
TimeLimit = Annotated[float, typer.Option(help="Maximum seconds of the query.", min=0.001)]
Unsafe = Annotated[
    bool, typer.Option("--unsafe", help="Let the query use files, network and extensions of the engine.")
]
RowLimit = Annotated[int, typer.Option(help="Maximum number of rows.", min=1)]
K = Annotated[int, typer.Option("--k", help="Length of each list.")]


def name_and_value(text: str) -> tuple[str, str]:
    """Return name and value of `name=value`.

    Raises:
        UsageError: the equals sign is missing.
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"no equals sign: {text!r}. Expected name=value")
    return name.strip(), value
