"""Validation of a run folder: columns of its tables, and their consistency with its JSON files.

`kgrec.runs.json_types` defines the JSON files, and `Signal.layouts` the arrays of a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import IntArray
from kgrec.data.columns import ARROW_TYPES, SHARE_COLUMNS
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType, NodeLabel
from kgrec.runs.json_types import Choices
from kgrec.runs.untrusted_files import MAX_NUMBER, shown

_ID, _NUMBER = pa.large_string(), pa.float32()
LISTS: Final = pa.schema(
    [("user_id", _ID), ("item_id", _ID), ("score", _NUMBER), ("rank", pa.int64())]
    + [(group, _NUMBER) for group in SHARE_COLUMNS]
)
"""Columns and types of the recommendations of a run, also of an empty table."""


def check_choices(choices: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    """Check that the content of choices.json is valid and matches run.json.

    Raises:
        ValueError: a key is missing or invalid.
    """
    Choices.model_validate(choices)
    if "settings" in info:
        for key, needed in (("signals", info["settings"]), ("cold_start", info.get("cold_start", {})), ("blends", {})):
            if key not in choices and (needed or key == "blends"):
                raise ValueError(f"{key} is missing")
            if missing := needed.keys() - choices.get(key, {}).keys():
                raise ValueError(f"{key} lacks {', '.join(sorted(missing))} of run.json")


def check_table(name: str, table: pa.Table, info: Mapping[str, Any], nodes: Callable[[str], pa.Table]) -> None:
    """Check that a table of a run matches run.json.

    Args:
        name: nodes-LABEL, edges-NUMBER or recommendations; other tables are not checked.
        table: content of the file.
        info: content of run.json.
        nodes: returns the node table of a label.

    Raises:
        ValueError: a column is missing, unknown, of the wrong type, or has nulls where values are required; or an id
            is duplicate or belongs to no node.
    """
    kind, _, of = name.partition("-")
    schema = Schema.from_dict(info["schema"])
    if kind == "recommendations":
        _check_lists(table)
        _check_listed_ids(table, info, schema, nodes)
    elif kind == "nodes":
        _check_nodes(table, schema.nodes[of])
    elif kind == "edges":
        _check_edges(table, info["edge_types"][int(of)][1], schema)


def _check_listed_ids(
    table: pa.Table, info: Mapping[str, Any], schema: Schema, nodes: Callable[[str], pa.Table]
) -> None:
    written = info.get("summary", {}).get("recommendations", table.num_rows)
    if table.num_rows != written and not info.get("forgotten"):
        raise ValueError(f"found {table.num_rows} rows; expected {written}, as in run.json")
    for role, labels in (("user", schema.roles.users), ("item", schema.roles.items)):
        present = [label for label in labels if label in info["labels"]]
        keys = [nodes(label).column(schema.nodes[label].key) for label in present]
        ids = pa.chunked_array([chunk for key in keys for chunk in key.chunks], pa.string())
        listed = pc.unique(table.column(f"{role}_id")).cast(pa.string())
        if strange := listed.filter(pc.invert(pc.is_in(listed, value_set=ids))).to_pylist():
            raise ValueError(f"'{role}_id' has {shown(strange[0])}; expected ids of the run's nodes")


def _check_nodes(table: pa.Table, node: NodeLabel) -> None:
    types = {node.key: "string", **node.properties}
    _check_columns(table, {x: ARROW_TYPES[y] for x, y in types.items()}, needed=[node.key])
    if pc.any(pc.equal(table.column(node.key), "")).as_py():
        raise ValueError(f"{node.key!r} has an empty id")
    if pc.count_distinct(table.column(node.key)).as_py() < table.num_rows:
        raise ValueError(f"{node.key!r} has a duplicate id")


def _check_edges(table: pa.Table, type_: str, schema: Schema) -> None:
    ends = {"src": pa.int64(), "dst": pa.int64()}
    columns = {**ends, **{x: ARROW_TYPES[y] for x, y in schema.relationships[type_].properties.items()}}
    behavior = schema.roles.behaviours.get(type_)
    numbers = [x for x in (behavior.weight, behavior.time) if x] if behavior else []
    _check_columns(table, columns, needed=[*ends, *numbers])
    for number in (x for x in numbers if pa.types.is_floating(columns[x])):
        _check_finite(table, number)


def _check_columns(table: pa.Table, types: Mapping[str, pa.DataType], needed: Sequence[str]) -> None:
    names = table.column_names
    if len(set(names)) < len(names) or set(names) != set(types):
        raise ValueError(f"found columns {shown(names)}; expected {', '.join(types)}")
    for name, kind in types.items():
        column = table.column(name)
        if not column.type.equals(kind):
            raise ValueError(f"{name!r} is of type {column.type}; expected {kind}")
        if name in needed and column.null_count:
            raise ValueError(f"{name!r} has {column.null_count} nulls; expected none")


def _check_finite(table: pa.Table, name: str) -> None:
    bounds = pc.min_max(table.column(name))
    low, high = bounds["min"].as_py() or 0, bounds["max"].as_py() or 0
    nan = pc.any(pc.is_nan(table.column(name))).as_py()
    if nan or not -MAX_NUMBER <= low <= high <= MAX_NUMBER:
        raise ValueError(f"{name!r} has NaN, infinity or a number beyond {MAX_NUMBER:g}; expected smaller ones")


def _check_lists(table: pa.Table) -> None:
    _check_columns(table, {field.name: field.type for field in LISTS}, LISTS.names)
    for name in ("score", *SHARE_COLUMNS):
        _check_finite(table, name)
    if table.num_rows and pc.min(table.column("rank")).as_py() < 1:
        raise ValueError("'rank' has a number below 1")
    for other in ("item_id", "rank"):
        if table.select(["user_id", other]).group_by(["user_id", other]).aggregate([]).num_rows < table.num_rows:
            raise ValueError(f"a user's list has a duplicate {other}")


def check_ends(edge_type: EdgeType, ends: Mapping[str, IntArray], rows: Mapping[str, int]) -> None:
    """Check that the ends of relationships are row numbers of nodes.

    Args:
        edge_type: type of the relationships.
        ends: "src" and "dst" → int64 [relationships].
        rows: label → number of nodes.

    Raises:
        ValueError: a number is out of range.
    """
    for (end, numbers), label in zip(ends.items(), (edge_type[0], edge_type[2]), strict=True):
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < rows[label]:
            span = f"{numbers.min()} to {numbers.max()}"
            raise ValueError(f"{end!r} has {span}; expected 0 to {rows[label] - 1}, row numbers of {label}")
