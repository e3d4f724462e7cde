"""A statement that a user gives to a graph, with what it may do and use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kgrec._util.values import pack
from kgrec.errors import StoreError, UsageError

TIME_LIMIT_SECONDS: Final = 120.0
"""Seconds a query may take."""

ROW_LIMIT: Final = 1_000_000
"""Rows a query may return."""

_MAX_SECONDS: Final = 7 * 86_400.0
"""Seconds that may be asked for at most."""


@dataclass(frozen=True)
class Statement:
    """A statement of Cypher or SPARQL.

    Attributes:
        text: the statement, as given.
        parameters: name → value.
        write: it may change the graph.
        unsafe: it may also reach files, the network and the engine's extensions and settings.
        time_limit: seconds after which it is stopped.
        row_limit: rows it may return.
    """

    text: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    write: bool = False
    unsafe: bool = False
    time_limit: float = TIME_LIMIT_SECONDS
    row_limit: int = ROW_LIMIT

    def __post_init__(self) -> None:
        """Check the text and the limits.

        Raises:
            UsageError: says what is accepted.
        """
        if not isinstance(self.text, str):
            raise UsageError(f"the query is of type {type(self.text).__name__}; expected text")
        if not isinstance(self.parameters, Mapping):
            raise UsageError(f"the parameters are of type {type(self.parameters).__name__}; expected name and value")
        seconds, rows = self.time_limit, self.row_limit
        if not _is_number(seconds) or not (math.isfinite(seconds) and 0 < seconds <= _MAX_SECONDS):
            raise UsageError(f"time limit: found {seconds!r}; expected seconds above 0, at most {_MAX_SECONDS:,.0f}")
        if not hasattr(rows, "__index__") or isinstance(rows, bool) or rows < 1:
            raise UsageError(f"row limit: found {rows!r}; expected a whole number of rows, 1 or more")

    def packed_parameters(self) -> Any:
        """Return the parameters for another process; see `kgrec._util.values`.

        Raises:
            StoreError: a value that no query takes; says which.
        """
        found = {}
        for name, value in self.parameters.items():
            try:
                found[str(name)] = pack(value)
            except TypeError as error:
                raise StoreError(f"parameter {name!r}: {error}") from None
        return {"dict": list(found.items())}


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, bool | str)
