"""What a refresh is asked to do."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.errors import UsageError
from kgrec.runs.folder import root_of
from kgrec.store.load import check_address
from kgrec.store.uri import check_uri


@dataclass(frozen=True)
class RefreshRequest:
    """One refresh of a graph.

    Args:
        graph: URI of the graph; made if it is not there.
        source: what the loader reads, such as a folder; or `GraphTables`, for instance another graph's `read()`.
        loader: name of a loader.
        schema: the vocabulary, or the file or name of one; the graph's if not given.
        since: only behaviors from then on: a date, or a number.
        config: settings; those of the published run if not given.
        full: choose settings and learn everything again, whatever the policy says.
        force: publish even a run that the gate refuses; noted in the run.
        allow_shrink: accept a source that holds a tenth, or less, of the rows of some label or type that it had before.
        dry_run: change nothing; return what would be done and about how long it would take.
        k: length of a published list.
        runs: folder of runs; beside the graph if not given.

    Raises:
        UsageError: k below 1, a URI that names no graph, or a password in an address.
    """

    graph: str
    source: Any
    _: KW_ONLY
    loader: str = "atomic"
    schema: Schema | str | Path | None = None
    since: str | None = None
    config: Config | None = None
    full: bool = False
    force: bool = False
    allow_shrink: bool = False
    dry_run: bool = False
    k: int = 20
    runs: str | Path | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k={self.k}; expected at least 1")
        check_uri(self.graph)
        check_address(self.source)

    @property
    def root(self) -> Path:
        """Folder of the graph's runs."""
        return Path(self.runs or root_of(self.graph))

    def vocabulary(self) -> Schema | None:
        """Return the schema, read from its file if need be; None if not given.

        Raises:
            SchemaError: the file holds none.
        """
        return self.schema if isinstance(self.schema, Schema) or self.schema is None else Schema.load(self.schema)
