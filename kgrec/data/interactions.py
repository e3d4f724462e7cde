"""GraphTables from data frames of interactions, items, users and attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.notices import notice
from kgrec._util.types import IntArray
from kgrec.data.arrow import as_python, plain
from kgrec.data.columns import as_keys, expected_id, to_mask
from kgrec.data.frames import as_table, lacking, shown_cell
from kgrec.data.schema import Schema
from kgrec.data.schema_checks import IDENTIFIER
from kgrec.data.schema_parts import EdgeType
from kgrec.data.table_checks import check
from kgrec.data.tables import Ends, GraphTables, Origin, TableKey
from kgrec.errors import DataError, Problem, listed

USER: Final = "User"
ITEM: Final = "Item"
INTERACTED: Final = "INTERACTED"
KEYS: Final = {USER: "user_id", ITEM: "item_id"}
NAMES: Final = ("name", "title")
"""Columns used as the display name of an item or user, in order of preference."""

MAX_TYPES: Final = 50
"""Maximum number of behavior types or attribute kinds; more mean that the wrong column was named."""


def from_interactions(
    frame: object,
    items: object = None,
    users: object = None,
    attributes: object = None,
    *,
    user_id: str = "user_id",
    item_id: str = "item_id",
    weight: str | None = None,
    timestamp: str | None = None,
    behavior: str | None = None,
) -> GraphTables:
    """Build a graph from data frames: pandas, polars, Arrow, or any frame with an Arrow stream.

    Ids are text or integers; a model returns them in the type given here. Users and items that occur only in the
    interactions become nodes too.

    Args:
        frame: one row per interaction, with the id columns and optionally `weight` (a number, such as a rating),
            `timestamp` (a timestamp, or a number that gives the order) and `behavior` (the type of the interaction; the
            default is INTERACTED).
        items: one row per item: its id, and properties, which are stored on its node; text properties describe it to
            the text models.
        users: one row per user, likewise.
        attributes: one row per link of the knowledge graph: `item_id`, `attribute` (such as genre) and `value` (such as
            drama), which becomes a node.
        user_id, item_id: names of the id columns, in all frames.
        weight, timestamp, behavior: names of these columns, if they differ from the defaults.

    Returns:
        Checked tables, to be fitted, split, or written to a graph with `graph.write(tables)`.

    Raises:
        DataError: lists every problem: a missing column, an empty frame, a missing id, ids of different types within
            or between frames, an unsupported id type, or two rows with one key and different values.
        UsageError: an argument is not a frame.
    """
    named = {"weight": weight, "timestamp": timestamp, "behavior": behavior}
    frames = _Frames({"user_id": user_id, "item_id": item_id}, named)
    frames.read("interactions", frame, (USER, ITEM))
    frames.read("items", items, (ITEM,))
    frames.read("users", users, (USER,))
    frames.read("attributes", attributes, (ITEM,), ("attribute", "value"))
    frames.check()
    return frames.tables()


@dataclass
class _Frames:
    """The frames of a graph, and their problems.

    Attributes:
        ids: user_id and item_id → name of the column.
        named: weight, timestamp and behavior → column name given by the caller; None if not given.
        frames: name of a frame → the frame.
        id_types: label → "int" or "string", as in the first frame read.
    """

    ids: Mapping[str, str]
    named: Mapping[str, str | None]
    frames: dict[str, pa.Table] = field(default_factory=dict)
    id_types: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def read(self, where: str, frame: object, labels: tuple[str, ...], others: tuple[str, ...] = ()) -> None:
        """Read a frame with the id columns of `labels` and the required columns `others`; skip an optional None."""
        if frame is None and where != "interactions":
            return
        table, problems = as_table(frame, where)
        self.frames[where] = table
        wanted = {KEYS[label]: self.ids[KEYS[label]] for label in labels}
        self.problems += problems
        self.problems += lacking(table, where, wanted, hint="; or name the one that it is: {0}='…'")
        self.problems += lacking(table, where, dict(zip(others, others, strict=True)))
        if where == "interactions":
            self._read_roles(table)
        wrong = {problem.field for problem in problems}
        for label in labels:
            column = self.ids[KEYS[label]]
            if column in table.column_names and column not in wrong:
                self._read_ids(where, label, table.column(column), column)

    def _read_roles(self, table: pa.Table) -> None:
        said = {argument: column for argument, column in self.named.items() if column is not None}
        self.problems += lacking(table, "interactions", said)
        if not table.num_rows:
            self.problems.append(Problem("interactions", "no rows", "at least one interaction"))

    def _read_ids(self, where: str, label: str, column: pa.ChunkedArray, name: str) -> None:
        type_ = plain(column).type
        is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_)
        if not (is_number or pa.types.is_string(type_) or pa.types.is_null(type_)):
            found = f"values of type {type_}, such as {shown_cell(column, 0)}" if len(column) else f"type {type_}"
            self.problems.append(Problem(where, found, "ids that are text or whole numbers", field=name))
            return
        kind = "int" if is_number else "string"
        if self.id_types.setdefault(label, kind) != kind and len(column):
            words = {"int": "whole numbers", "string": "text"}
            expected = f"{words[self.id_types[label]]}, as in the interactions; convert one of the two"
            self.problems.append(Problem(where, words[kind], expected, field=name))
        ids, wrong = as_keys(column)
        for row in np.flatnonzero(wrong | ~to_mask(pc.not_equal(ids, ""))).tolist():
            expected = expected_id(as_python(column, row)) if wrong[row] else "an id"
            self.problems.append(Problem(where, shown_cell(column, row), expected, row + 1, name))

    def check(self) -> None:
        """Raise all problems found, if any; report the columns that are not used."""
        for where, label in (("items", ITEM), ("users", USER)):
            for name in self._properties(where, label):
                if not IDENTIFIER.fullmatch(name):
                    expected = "letters, digits and _, not starting with a digit; rename the column"
                    self.problems.append(Problem(where, f"the name {name!r}", expected, field=name))
        for where, kind in (("interactions", self._role("behavior")), ("attributes", "attribute")):
            if kind and where in self.frames and kind in self.frames[where].column_names:
                self.problems += _kind_problems(where, kind, self.frames[where].column(kind))
        if self.problems:
            raise DataError(self.problems)
        known = {*self.ids.values(), *(self.named[role] or role for role in self.named)}
        names = self.frames["interactions"].column_names
        rest = [name for name in names if name not in known and not name.startswith("__index_level_")]
        if rest:
            notice(f"columns of the interactions not used: {listed(rest)}; weight=, timestamp= and behavior= name one")

    def _role(self, role: str) -> str | None:
        """Return the name of the weight, timestamp or behavior column; None if the frame has none."""
        column = self.named[role] or role
        return column if column in self.frames["interactions"].column_names else None

    def _properties(self, where: str, label: str) -> list[str]:
        table, key = self.frames.get(where), self.ids[KEYS[label]]
        return [name for name in table.column_names if name != key] if table is not None else []

    def tables(self) -> GraphTables:
        """Return the checked graph, and report the rows left out as duplicates."""
        behaviors = list(self._kinds("interactions", self._role("behavior"), INTERACTED))
        links = list(self._kinds("attributes", "attribute", "")) if "attributes" in self.frames else []
        edges: dict[EdgeType, pa.Table] = {}
        origins: dict[TableKey, tuple[Origin, ...]] = {}
        for type_, rows in behaviors:
            edges[USER, type_, ITEM], origins[USER, type_, ITEM] = self._behaviors(rows)
        for kind, rows in links:
            edge_type = (ITEM, link_type(kind), node_label(kind))
            edges[edge_type], origins[edge_type] = self._links(rows)
        nodes = {label: self._nodes(where, label, origins) for where, label in (("items", ITEM), ("users", USER))}
        schema = self._schema([type_ for type_, _ in behaviors], [kind for kind, _ in links])
        made = Ends(dict.fromkeys([USER, ITEM, *(node_label(kind) for kind, _ in links)], True), {})
        there = {label: table for label, table in nodes.items() if table is not None}
        checked = check(GraphTables(schema, there, edges, origins, made))
        _report_duplicates(edges, checked.edges)
        return checked

    def _kinds(self, where: str, column: str | None, default: str) -> Iterator[tuple[str, IntArray]]:
        """Yield each value of a column as an identifier, with its rows [n]; without a column, `default` and all."""
        table = self.frames[where]
        if column is None:
            yield default, np.arange(table.num_rows)
            return
        codes = pc.dictionary_encode(as_keys(table.column(column))[0].combine_chunks())
        nums = np.asarray(codes.indices.to_numpy())
        for num, value in enumerate(codes.dictionary.to_pylist()):
            yield identifier(value), np.flatnonzero(nums == num)

    def _behaviors(self, rows: IntArray) -> tuple[pa.Table, tuple[Origin, ...]]:
        columns = {"src": self.ids["user_id"], "dst": self.ids["item_id"]}
        columns |= {role: name for role in ("weight", "timestamp") if (name := self._role(role))}
        return _taken(self.frames["interactions"], rows, columns, "interactions")

    def _links(self, rows: IntArray) -> tuple[pa.Table, tuple[Origin, ...]]:
        columns = {"src": self.ids["item_id"], "dst": "value"}
        return _taken(self.frames["attributes"], rows, columns, "attributes")

    def _nodes(self, where: str, label: str, origins: dict[TableKey, tuple[Origin, ...]]) -> pa.Table | None:
        if where not in self.frames:
            return None
        columns = {KEYS[label]: self.ids[KEYS[label]]} | {name: name for name in self._properties(where, label)}
        table, origins[label] = _taken(self.frames[where], np.arange(self.frames[where].num_rows), columns, where)
        return table

    def _schema(self, behaviors: list[str], attributes: list[str]) -> Schema:
        roles = {role: role for role in ("weight", "timestamp") if self._role(role)}
        properties = {role: self._kind_of(role) for role in roles}
        means = {"time" if role == "timestamp" else role: role for role in roles}
        nodes = {label: self._label(where, label, attributes) for where, label in (("users", USER), ("items", ITEM))}
        for kind in attributes:
            nodes[node_label(kind)] = {"key": "value", "text": "{value}"}
        relationships: dict[str, Any] = {
            type_: {"from": USER, "to": ITEM, "properties": properties} for type_ in behaviors
        }
        relationships |= {link_type(kind): {"from": ITEM, "to": node_label(kind)} for kind in attributes}
        role = {"users": USER, "items": ITEM, "behaviours": dict.fromkeys(behaviors, means)}
        data = {"name": "interactions", "nodes": nodes, "relationships": relationships, "roles": role}
        return Schema.from_dict(data, where="from_interactions")

    def _kind_of(self, role: str) -> str:
        """Return the property type of the weight or timestamp column: "datetime" or "float"."""
        type_ = plain(self.frames["interactions"].column(self._role(role))).type
        number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
        return "float" if number or role == "weight" else "datetime"

    def _label(self, where: str, label: str, attributes: list[str]) -> dict[str, Any]:
        properties = {name: property_type(self.frames[where].column(name)) for name in self._properties(where, label)}
        name = next((name for name in NAMES if properties.get(name) == "string"), None)
        described = [prop for prop, kind in properties.items() if kind in ("string", "strings") and prop != name]
        texts = [f"{{{name}}}"] if name else []
        texts += [f"{prop}: {{{prop}}}" for prop in described]
        if label == ITEM:
            texts += [f"{kind}: {{{link_type(kind)}}}" for kind in attributes]
        known = {"key": KEYS[label], "id_type": self.id_types[label], "properties": properties, "text": texts}
        return known | ({"name": name} if name else {})


def identifier(value: str) -> str:
    """Return a value as a schema name: characters other than ASCII letters, digits and _ become _."""
    text = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in value)
    return f"_{text}" if text[:1].isdigit() else text


def node_label(kind: str) -> str:
    """Return the node label of an attribute: genre → Genre, release_year → ReleaseYear."""
    return "".join(word[:1].upper() + word[1:] for word in kind.split("_"))


def link_type(kind: str) -> str:
    """Return the relationship type of an attribute: genre → HAS_GENRE."""
    return f"HAS_{kind.upper()}"


def property_type(column: pa.ChunkedArray) -> str:
    """Return the schema's property type for a column."""
    type_ = plain(column).type
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_):
        return "int"
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "float"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "datetime"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return "vector" if pa.types.is_floating(type_.value_type) else "strings"
    return "string"


def _taken(
    table: pa.Table, rows: IntArray, columns: Mapping[str, str], where: str
) -> tuple[pa.Table, tuple[Origin, ...]]:
    """Return rows of a frame with renamed columns, and their origins; row numbers in messages count from 1."""
    taken = pa.table({name: table.column(column) for name, column in columns.items()}).take(pa.array(rows))
    return taken, (Origin(where, 1, len(rows), dict(columns), rows + 1),)


def _kind_problems(where: str, name: str, column: pa.ChunkedArray) -> Iterator[Problem]:
    """Yield the problems of a type column: missing values, too many types, or types that map to the same identifier."""
    values = as_keys(column)[0]
    for row in np.flatnonzero(~to_mask(pc.not_equal(values, ""))).tolist():
        yield Problem(where, shown_cell(column, row), f"the {name} of the row", row + 1, name)
    kinds = [value for value in pc.unique(values).to_pylist() if value]
    if len(kinds) > MAX_TYPES:
        yield Problem(where, f"{len(kinds):,} values", f"at most {MAX_TYPES} types", field=name)
    elif len({identifier(kind) for kind in kinds}) < len(kinds):
        yield Problem(where, listed(kinds), "types that differ in letters and digits", field=name)


def _report_duplicates(given: Mapping[EdgeType, pa.Table], kept: Mapping[EdgeType, pa.Table]) -> None:
    n = sum(table.num_rows for table in given.values()) - sum(kept[t].num_rows for t in given)
    if n:
        notice(f"{n:,} duplicate {'row' if n == 1 else 'rows'} left out: one row is kept per user, item and time")
