"""Request of a refresh: its source, graph and options."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.errors import UsageError
from kgrec.events.log import events_folder
from kgrec.runs.folder import root_of
from kgrec.store.load import check_address
from kgrec.store.uri import check_uri


@dataclass(frozen=True)
class RefreshRequest:
    """Source, graph and options of a refresh.

    Args:
        graph: URI of the graph; created if missing.
        source: input of the loader, such as a folder; or `GraphTables`, for instance another graph's `read()`. None:
            only the events that a service received.
        loader: name of a loader.
        schema: a schema, or the file or name of one; default: the graph's.
        since: ingest only behaviors from this date or number on.
        config: settings; default: those of the live run.
        full: retrain fully, regardless of the policy.
        force: publish even a run that the gate refuses; the run records it.
        allow_shrink: accept a source with a tenth of the earlier rows of some label or type, or fewer.
        dry_run: change nothing; return the planned update and its expected duration.
        k: length of each published list.
        runs: folder of runs; default: beside the graph.

    Raises:
        UsageError: k below 1, a URI that names no graph, a password in an address, or neither a source nor events.
    """

    graph: str
    source: Any = None
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
            raise UsageError(f"k is too small: {self.k}. Expected at least 1")
        check_uri(self.graph)
        check_address(self.source)
        if self.source is None and not self.events.is_dir():
            raise UsageError(f"no source, and no events in {self.events}. Expected --source, or events of a service")

    @property
    def root(self) -> Path:
        """Folder of the graph's runs."""
        return Path(self.runs or root_of(self.graph))

    @property
    def events(self) -> Path:
        """Folder of the events that a service received."""
        return events_folder(self.root)

    def vocabulary(self) -> Schema | None:
        """Return the requested schema, loaded if it is a file or name; None for the graph's.

        Raises:
            SchemaError: the file has no valid schema.
        """
        return self.schema if isinstance(self.schema, Schema) or self.schema is None else Schema.load(self.schema)
