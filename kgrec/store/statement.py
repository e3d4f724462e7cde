"""A user's Cypher or SPARQL statement with its permissions and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kgrec._util.values import pack
from kgrec.errors import StoreError, UsageError

TIME_LIMIT_SECONDS: Final = 120.0
"""Default time limit of a query, in seconds."""

ROW_LIMIT: Final = 1_000_000
"""Default maximum number of rows of a query."""

_MAX_SECONDS: Final = 7 * 86_400.0
"""Largest time limit that a user can set, in seconds."""


@dataclass(frozen=True)
class Statement:
    """A statement in Cypher or SPARQL.

    Attributes:
        text: the statement as given.
        parameters: name → value.
        write: the statement may change the graph.
        unsafe: the statement may also access files, the network, and the engine's extensions and settings.
        time_limit: seconds after which the statement is stopped.
        row_limit: maximum number of rows.
    """

    text: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    write: bool = False
    unsafe: bool = False
    time_limit: float = TIME_LIMIT_SECONDS
    row_limit: int = ROW_LIMIT

    def __post_init__(self) -> None:
        """Check the text, the parameters and the limits.

        Raises:
            UsageError: one of them is invalid; the message says what is accepted.
        """
        if not isinstance(self.text, str):
            raise UsageError(f"the query is of type {type(self.text).__name__}; expected text")
        if not isinstance(self.parameters, Mapping):
            raise UsageError(f"the parameters are of type {type(self.parameters).__name__}; expected a dict")
        seconds, rows = self.time_limit, self.row_limit
        if not _is_number(seconds) or not (math.isfinite(seconds) and 0 < seconds <= _MAX_SECONDS):
            raise UsageError(f"time limit: found {seconds!r}; expected seconds above 0, at most {_MAX_SECONDS:,.0f}")
        if not hasattr(rows, "__index__") or isinstance(rows, bool) or rows < 1:
            raise UsageError(f"row limit: found {rows!r}; expected a whole number of rows, 1 or more")

    def packed_parameters(self) -> Any:
        """Return the parameters packed as JSON values for another process; see `kgrec._util.values`.

        Raises:
            StoreError: a value has a type that queries do not accept; the message names the parameter.
        """
        packed = {}
        for name, value in self.parameters.items():
            try:
                packed[str(name)] = pack(value)
            except TypeError as error:
                raise StoreError(f"parameter {name!r}: {error}") from None
        return {"dict": list(packed.items())}


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, bool | str)
