"""Signals: the base models that score items for users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from kgrec.config import SIGNALS, signal_name
from kgrec.errors import UsageError

if TYPE_CHECKING:
    from kgrec.signals.base import Signal


def signal_kinds(signals: Iterable[str | type[Signal]]) -> list[type[Signal]]:
    """Return the classes of signals in the order of tuning and blending: by `tuning_order`, then by name.

    Args:
        signals: names of shipped or registered signals, or classes; duplicates are ignored.

    Raises:
        UsageError: a name is unknown, an entry point cannot be imported, a class is not a signal, or two signals have
            the same name.
    """
    kinds: dict[str, type[Signal]] = {}
    for signal in signals:
        kind = _checked(SIGNALS.load(signal), signal) if isinstance(signal, str) else _checked(signal)
        if kinds.setdefault(kind.name, kind) is not kind:
            raise UsageError(f"two signals are called {kind.name!r}: {kinds[kind.name]} and {kind}. Rename one of them")
    return sorted(kinds.values(), key=lambda kind: (kind.tuning_order, kind.name))


def shipped_with_similarity(role: Literal["user", "item"]) -> list[str]:
    """Return the names of the shipped signals that define a similarity of users, or of items."""
    from kgrec.signals.base import Signal

    members = (f"{role}_vectors", f"{role}_similarity")
    kinds = signal_kinds(SIGNALS.shipped)
    return [kind.name for kind in kinds if any(getattr(kind, m) is not getattr(Signal, m) for m in members)]


def with_classes(names: Sequence[str], given: Sequence[type[Signal]]) -> list[str | type[Signal]]:
    """Return names of signals with the names of the given classes replaced by these classes."""
    classes = {signal_name(kind): kind for kind in given}
    return [classes.get(name, name) for name in names]


def _checked(kind: type[Signal], name: str | None = None) -> type[Signal]:
    from kgrec.signals.base import Signal

    if not isinstance(kind, type) or not issubclass(kind, Signal):
        raise UsageError(f"{name or kind!r} is no signal: {kind!r}. Expected a subclass of kgrec.signals.base.Signal")
    missing = [member for member in ("name", "group", "Settings") if not hasattr(kind, member)]
    missing += sorted(kind.__abstractmethods__)
    if missing:
        raise UsageError(f"signal {kind.__name__} lacks {', '.join(missing)}. See docs/how-to/extending.md")
    if name not in (None, kind.name):
        raise UsageError(f"entry point {name!r} gives a signal called {kind.name!r}. Expected the same name for both")
    return kind
