"""Every error kgrec raises on purpose.

KgrecError
├── UsageError            what was asked for cannot be (wrong argument, wrong order of calls)
│   ├── UnknownUser
│   ├── UnknownItem
│   ├── NotFittedError    a method that needs `fit` was called before it
│   └── MissingExtra      an optional package is needed
├── SchemaError           a schema file is wrong
├── DataError             input data is wrong; carries every problem found
├── StoreError            a graph store cannot do what was asked
│   ├── StoreLocked       another process is writing to it
│   └── WriteCutOff       half of a large write may be there; run it again
├── RunError              a run folder cannot be read or written
└── GateRefused           a new run is worse than the one that serves, and was not published

Exit codes of the command: 0 done, also where there was nothing to do; 1 failed; 2 wrong use (UsageError); 3 refused by
the gate (GateRefused); 4 another process is at work, try again later (StoreLocked); 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kgrec._util.secrets import redacted


class KgrecError(Exception):
    """Base of every error kgrec raises on purpose; its text is meant for the user.

    A user, password or token of an address is not in the text, whoever wrote it.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(value) if isinstance(value, str) else value for value in args))


class UsageError(KgrecError, ValueError):
    """What was asked for cannot be done as asked."""


class MissingExtra(UsageError):
    """A feature needs a package that is not installed."""


class NotFittedError(UsageError, AttributeError):
    """A method that needs a fitted model was called before `fit`."""

    def __init__(self, what: str = "this recommender") -> None:
        super().__init__(f"{what} is not fitted. Call fit(...) first, or Recommender.load(folder)")


class StoreError(KgrecError):
    """A graph store refused or failed."""


class StoreLocked(StoreError):
    """Another process holds the store for writing."""


class WriteCutOff(StoreError):
    """A large write to a server was cut off and could not be taken back; running it again makes the graph whole."""


class RunError(KgrecError):
    """A run folder is missing, damaged or from a newer version."""


class GateRefused(KgrecError):
    """A new run would make things worse for users, and the one before it goes on serving."""


def exit_code(error: KgrecError) -> int:
    """Return what the command exits with after an error; see the top of this file."""
    codes: dict[type[KgrecError], int] = {UsageError: 2, GateRefused: 3, StoreLocked: 4}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 1)


def near_matches(wanted: str, known: Iterable[str], n: int = 3) -> str:
    """Return `'; near matches: a, b'` for a mistyped id, or an empty string if nothing is near.

    Never of users: their ids are told on request only (see `UnknownUser`).
    """
    close = difflib.get_close_matches(wanted, list(known), n=n, cutoff=0.5)
    return f"; near matches: {', '.join(close)}" if close else ""


def listed(names: Iterable[str], n: int = 30) -> str:
    """Return `'a, b, c'`, of many names the first ones and how many there are besides."""
    known = list(names)
    return ", ".join(known) if len(known) <= n else f"{', '.join(known[:n])} and {len(known) - n:,} more"


class _UnknownId(UsageError):
    """An id that the fitted model has never seen."""

    role = "id"
    tells_near = True

    def __init__(self, missing: Sequence[str], known: Iterable[str], hint: str) -> None:
        self.missing, self._known = list(missing), known
        shown = ", ".join(repr(i) for i in self.missing[:5])
        more = f" and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
        near = near_matches(self.missing[0], known) if self.tells_near else ""
        super().__init__(f"unknown {self.role}: {shown}{more}{near}. {hint}")


class UnknownUser(_UnknownId):
    """A user id without a node in the fitted graph.

    The text names no other user, since whoever mistypes an id, or tries some, has no right to those of others.
    """

    role = "user"
    tells_near = False

    def near(self, n: int = 3) -> list[str]:
        """Return ids of users that are like the first missing one, for whoever may see them; never to be served."""
        return difflib.get_close_matches(self.missing[0], list(self._known), n=n, cutoff=0.5)


class UnknownItem(_UnknownId):
    """An item id without a node in the fitted graph."""

    role = "item"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in an input.

    Attributes:
        where: the file, table or schema it is in.
        found: what is there.
        expected: what should be there, or what to do.
        row: line number in a file (first line = 1), or row number of a table (first row = 1); None if the whole input.
        field: column or key; None if the whole row.
    """

    where: str
    found: str
    expected: str
    row: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        place = self.where if self.row is None else f"{self.where}:{self.row}"
        name = f" {self.field}:" if self.field else ""
        return redacted(f"{place}:{name} found {self.found}; expected {self.expected}")


def _of_every_kind(problems: Sequence[Problem], n: int) -> list[Problem]:
    """Return at most n problems in the order of the inputs and their rows: where there are more, some of every kind."""
    seen: Counter[tuple[str, str | None, str]] = Counter()
    nth: list[int] = []
    for problem in problems:
        kind = problem.where, problem.field, problem.expected
        nth.append(seen[kind])
        seen[kind] += 1
    chosen = sorted(range(len(problems)), key=lambda i: nth[i])[:n]
    inputs = {where: place for place, where in enumerate(dict.fromkeys(problem.where for problem in problems))}
    return [problems[i] for i in sorted(chosen, key=lambda i: (inputs[problems[i].where], problems[i].row or 0, i))]


class _Problems(KgrecError):
    """An error that lists every problem found."""

    heading = "problems found"
    shown = 20

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        lines = [f"  {problem}" for problem in _of_every_kind(self.problems, self.shown)]
        if len(self.problems) > self.shown:
            lines.append(f"  … and {len(self.problems) - self.shown} more")
        plural = "problem" if len(self.problems) == 1 else "problems"
        super().__init__("\n".join([f"{len(self.problems)} {plural} in {self.heading}:", *lines]))


class SchemaError(_Problems):
    """A schema is wrong; `problems` holds every place."""

    heading = "the schema"


class DataError(_Problems):
    """Input data is wrong; `problems` holds every place. Nothing was written."""

    heading = "the data"
