"""Look-up of plug-ins by name: those that kgrec ships and those that other packages register as entry points."""

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

    Plug-ins are imported on demand, so that a broken package affects only users of its plug-ins. Other packages cannot
    override a shipped name.

    Attributes:
        kind: word for a plug-in in messages, such as "signal".
        group: entry-point group, such as "kgrec.signals".
        shipped: name → "module:Class" of the plug-ins that kgrec ships.
    """

    kind: str
    group: str
    shipped: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the names of all plug-ins, sorted."""
        return sorted({*self.shipped, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: str) -> Any:
        """Return the class of a plug-in.

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
        """Return the error message for an unknown name."""
        names = self.names() if known is None else sorted(known)
        expected = f"expected one of {', '.join(names) or 'none'}{near_matches(name, names)}"
        return f"unknown {self.kind} {name!r}; {expected}"

    def broken(self) -> dict[str, str]:
        """Return name → error message of the plug-ins that cannot be loaded."""
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
        except (Exception, SystemExit) as error:  # importing a foreign module may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise UsageError(f"{self.kind} {point.name!r} ({point.value}) cannot be imported: {reason}") from error
