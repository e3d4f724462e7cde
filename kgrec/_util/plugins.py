"""Plug-ins: what kgrec ships, and what other packages register as entry points, found by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kgrec.errors import UsageError, near_matches


@dataclass(frozen=True)
class PluginGroup:
    """One kind of plug-in.

    Nothing is imported before it is asked for, so a package that cannot be imported harms nobody who does not name it.
    A shipped name cannot be taken over by another package.

    Attributes:
        kind: the word for one in messages, such as "signal".
        group: the entry-point group, such as "kgrec.signals".
        shipped: name → "module:Class" of those that kgrec brings along.
    """

    kind: str
    group: str
    shipped: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self.shipped, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> Any:
        """Return the class of a name.

        Raises:
            UsageError: no plug-in has the name, two packages register it, or it cannot be imported.
        """
        if name in self.shipped:
            module, _, attribute = self.shipped[name].partition(":")
            return getattr(import_module(module), attribute)
        points = {point.value: point for point in entry_points(group=self.group) if point.name == name}
        if not points:
            raise UsageError(self.unknown(name))
        if len(points) > 1:
            raise UsageError(f"two packages register {self.kind} {name!r}: {', '.join(points)}. Uninstall one of them")
        return self._imported(*points.values())

    def unknown(self, name: str, known: Iterable[str] | None = None) -> str:
        """Return the message for a name that no plug-in has."""
        names = self.names() if known is None else sorted(known)
        expected = f"expected one of {', '.join(names) or 'none'}{near_matches(name, names)}"
        return f"unknown {self.kind} {name!r}; {expected}"

    def broken(self) -> dict[str, str]:
        """Return name → message of those that cannot be loaded."""
        faults = {}
        for name in self.names():
            try:
                self.load(name)
            except UsageError as error:
                faults[name] = str(error)
        return faults

    def _imported(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except (Exception, SystemExit) as error:  # a foreign module may raise anything while it is imported
            reason = f"{type(error).__name__}: {error}"
            raise UsageError(f"{self.kind} {point.name!r} ({point.value}) cannot be imported: {reason}") from error
