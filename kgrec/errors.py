"""The exceptions of kgrec.

KgrecError
├── UsageError            wrong use: a bad argument, or a call in the wrong order
│   ├── UnknownUser
│   ├── UnknownItem
│   ├── NotFittedError    a method that needs a fit was called before `fit`
│   └── MissingExtra      an optional package is not installed
├── SchemaError           a schema is wrong; lists every problem
├── DataError             input data are wrong; lists every problem
├── StoreError            a graph store failed or refused an operation
│   ├── StoreLocked       another process is writing to the store
│   └── WriteCutOff       a large write was interrupted half-way; run it again
├── RunError              a run folder cannot be read or written
└── GateRefused           a new run is worse than the live run and was not published

Exit codes of the command line: 0 success, including nothing to do; 1 failure; 2 wrong use (UsageError); 3 refused by
the gate (GateRefused); 4 another process is working, try again later (StoreLocked); 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kgrec._util.secrets import redacted


class KgrecError(Exception):
    """Base class of all exceptions of kgrec, whose text is written for the user.

    User names, passwords and tokens in URIs are redacted from the text.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(value) if isinstance(value, str) else value for value in args))


class UsageError(KgrecError, ValueError):
    """An argument is wrong, or a call is not possible in this state."""


class MissingExtra(UsageError):
    """A feature needs a package that is not installed."""


class NotFittedError(UsageError, AttributeError):
    """A method that needs a fitted model was called before `fit`."""

    def __init__(self, what: str = "this recommender") -> None:
        super().__init__(f"{what} is not fitted. Call fit(...) first, or Recommender.load(folder)")


class StoreError(KgrecError):
    """A graph store failed or refused an operation."""


class StoreLocked(StoreError):
    """Another process has the store open for writing."""


class WriteCutOff(StoreError):
    """A large write to a server was interrupted and could not be rolled back; running it again completes the graph."""


class RunError(KgrecError):
    """A run folder is missing, damaged, from another version, or cannot be written."""


class GateRefused(KgrecError):
    """A new run is worse than the live run, which stays published."""


def exit_code(error: KgrecError) -> int:
    """Return the exit code of the command line for an error; see the top of this file."""
    codes: dict[type[KgrecError], int] = {UsageError: 2, GateRefused: 3, StoreLocked: 4}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 1)


def near_matches(wanted: str, known: Iterable[str], n: int = 3) -> str:
    """Return `'; near matches: a, b'` for a mistyped name, or an empty string without near matches.

    Not for user ids, which must not be disclosed (see `UnknownUser`).
    """
    close = difflib.get_close_matches(wanted, list(known), n=n, cutoff=0.5)
    return f"; near matches: {', '.join(close)}" if close else ""


def listed(names: Iterable[str], n: int = 30) -> str:
    """Return `'a, b, c'`: the first n names, and the number of further ones."""
    known = list(names)
    return ", ".join(known) if len(known) <= n else f"{', '.join(known[:n])} and {len(known) - n:,} more"


class _UnknownId(UsageError):
    """An id without a node in the fitted graph."""

    role = "id"
    shows_near_matches = True

    def __init__(self, missing: Sequence[str], known: Iterable[str], hint: str) -> None:
        self.missing, self._known = list(missing), known
        shown = ", ".join(repr(i) for i in self.missing[:5])
        more = f" and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
        near = near_matches(self.missing[0], known) if self.shows_near_matches else ""
        super().__init__(f"unknown {self.role}: {shown}{more}{near}. {hint}")


class UnknownUser(_UnknownId):
    """A user id without a node in the fitted graph.

    The text names no other user: whoever mistypes or guesses an id must not learn the ids of others.
    """

    role = "user"
    shows_near_matches = False

    def near(self, n: int = 3) -> list[str]:
        """Return ids of users similar to the first missing one, to show to authorized people only."""
        return difflib.get_close_matches(self.missing[0], list(self._known), n=n, cutoff=0.5)


class UnknownItem(_UnknownId):
    """An item id without a node in the fitted graph."""

    role = "item"


@dataclass(frozen=True)
class Problem:
    """One problem in an input.

    Attributes:
        where: the file, table or schema with the problem.
        found: the wrong content.
        expected: the expected content, or the remedy.
        row: line number in a file or row number of a table, from 1; None if the problem is not of a single row.
        field: column or key; None if the problem is not of a single field.
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
    """Return at most n problems, some of every kind, in the order of the inputs and their rows."""
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
    """An exception that lists all problems of an input."""

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
    """A schema is wrong; `problems` lists all faults."""

    heading = "the schema"


class DataError(_Problems):
    """Input data are wrong; `problems` lists all faults. Nothing was written."""

    heading = "the data"
