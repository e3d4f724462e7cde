"""Limits of placeholders in text templates: number of names and number of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

BEHAVIORS: Final = "behaviours"
"""Placeholder for a user's behaviors, in time order."""
NEIGHBORS: Final = "neighbours"
"""Placeholder for all neighbors in the knowledge graph, with the name of each relationship."""

_LIMITS: Final = re.compile(r"(?P<names>[1-9]\d*)?(?:(?(names), *)(?P<tokens>[1-9]\d*) tokens)?")


@dataclass(frozen=True)
class Limits:
    """Limits of a placeholder.

    Attributes:
        names: maximum number of node names; None if the template gives no number.
        tokens: maximum number of tokens; None for no limit.
    """

    names: int | None = None
    tokens: int | None = None

    @classmethod
    def parse(cls, text: str) -> Limits | None:
        """Parse the part after the colon of a placeholder: "5", "60 tokens" or "5, 60 tokens"; None if invalid."""
        match = _LIMITS.fullmatch(text)
        return cls(**{name: int(n) for name, n in match.groupdict().items() if n}) if match else None
