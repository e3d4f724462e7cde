"""Reading YAML with bounds on length, number of values and depth.

A few hundred bytes of YAML can expand to billions of values (by aliases), or nest deeper than Python's stack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

MAX_CHARACTERS: Final = 1 << 20
MAX_VALUES: Final = 100_000
MAX_DEPTH: Final = 50


class Document(NamedTuple):
    """A YAML document: its plain data, and its tree of nodes with their lines (None for an empty document)."""

    data: Any
    tree: yaml.Node | None


def read_yaml(text: str) -> Any:
    """Return the plain data of a YAML text.

    Raises:
        yaml.YAMLError: the YAML is invalid or exceeds `MAX_CHARACTERS`, `MAX_VALUES` (with aliases expanded) or
            `MAX_DEPTH`; `described` returns the reason and the line.
    """
    return read_document(text).data


def read_document(text: str) -> Document:
    """Return the plain data and the tree of a YAML text; errors as in `read_yaml`."""
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"{len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    loader = _Bounded(text)
    try:
        tree = loader.get_single_node()
        if tree is None:
            return Document(None, None)
        _count(tree, {})
        loader.at = tree
        return Document(loader.construct_document(tree), tree)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        # PyYAML raises these for 2026-02-30, an integer of 5,000 digits, `!!bool maybe` and the like.
        kind, place = loader.at.tag.rpartition(":")[2], loader.at.start_mark
        raise yaml.MarkedYAMLError(problem=f"{str(loader.at.value)[:40]!r} is no {kind}", problem_mark=place) from None
    finally:
        loader.dispose()


def read_text(path: Path) -> str:
    """Return the text of a YAML file.

    Raises:
        OSError: the file cannot be read.
        yaml.YAMLError: the file is longer than `MAX_CHARACTERS`, or is not UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(4 * MAX_CHARACTERS + 1)
    if len(data) > 4 * MAX_CHARACTERS:
        raise yaml.YAMLError(f"more than {MAX_CHARACTERS:,} characters")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n")
        place = yaml.Mark(str(path), error.start, line, 0, None, 0)
        raise yaml.MarkedYAMLError(problem="bytes that are not UTF-8", problem_mark=place) from None


def described(error: yaml.YAMLError) -> tuple[str, int | None]:
    """Return the reason of a YAML error, and its line or None."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or (str(error).splitlines() or ["no reason given"])[0]
    return str(reason), mark.line + 1 if mark else None


class _Bounded(yaml.SafeLoader):
    """A safe loader that enforces the bounds and records the current value in `at`."""

    depth = values = 0
    at: yaml.Node

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth, self.values = self.depth + 1, self.values + 1
        if self.depth > MAX_DEPTH or self.values > MAX_VALUES:
            deep = self.depth > MAX_DEPTH
            problem = f"values nested more than {MAX_DEPTH} deep" if deep else f"more than {MAX_VALUES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self._place())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _place(self) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        return event.start_mark

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode):
            self.at = node
        return super().construct_object(node, deep)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values of a node with aliases expanded.

    Args:
        node: a node whose depth is already checked.
        known: id of a node → its number of values; 0 while the node is being counted.

    Raises:
        yaml.MarkedYAMLError: the aliases expand to too many values or are recursive.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
        if known[id(node)] > MAX_VALUES:
            problem = f"aliases that expand to more than {MAX_VALUES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    elif not known[id(node)]:
        raise yaml.MarkedYAMLError(problem="an alias of a value that contains it", problem_mark=node.start_mark)
    return known[id(node)]
