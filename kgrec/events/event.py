"""Event: one behavior of a user, as a line of the event log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

DISMISSED: Final = "dismissed"
"""Behavior of an event that hides the item from the user's lists; never written to the graph."""


@dataclass(frozen=True)
class Event:
    """One behavior of a user.

    Attributes:
        event_id: identifies the event; a second event with the same id is ignored.
        user_id, item_id: keys of the user and the item.
        behavior: a relationship type of the schema's behaviors, or `DISMISSED`.
        timestamp: epoch seconds.
        weight: strength, such as a rating; None for the behavior's usual one.
    """

    event_id: str
    user_id: str
    item_id: str
    behavior: str
    timestamp: float
    weight: float | None = None

    def to_line(self, **more: Any) -> str:
        """Return the event as one line of JSON, with more keys if given."""
        return json.dumps({**asdict(self), **more}) + "\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Return the event of a line.

        Raises:
            ValueError: the line is not an event.
        """
        try:
            return cls(**json.loads(line))
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from None
