"""Limits in text templates: how many names a placeholder takes, and how many tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

BEHAVIORS: Final = "behaviours"
"""Placeholder of what a user did, in the order of time."""
NEIGHBORS: Final = "neighbours"
"""Placeholder of all neighbors in the knowledge graph, each relationship named."""

_LIMITS: Final = re.compile(r"(?P<names>[1-9]\d*)?(?:(?(names), *)(?P<tokens>[1-9]\d*) tokens)?")


@dataclass(frozen=True)
class Limits:
    """What a placeholder takes at most.

    Attributes:
        names: nodes it names; None where the template does not say.
        tokens: tokens of its text; None for no limit.
    """

    names: int | None = None
    tokens: int | None = None

    @classmethod
    def parse(cls, text: str) -> Limits | None:
        """Read what follows the colon of a placeholder: "5", "60 tokens" or "5, 60 tokens"; None if it is neither."""
        found = _LIMITS.fullmatch(text)
        return cls(**{name: int(n) for name, n in found.groupdict().items() if n}) if found else None
