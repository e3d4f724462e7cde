"""Mapping of the tables loader: the columns of sources that become nodes and relationships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from kgrec._util.safe_yaml import described, read_document, read_text
from kgrec.errors import DataError, Problem, UsageError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _as_values(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else (value,)
    values = tuple(str(v) if type(v) is date else v for v in values)  # YAML reads 2024-01-31 as a date
    if not values or not all(isinstance(v, str | int | float) for v in values):
        raise ValueError("a text, a number, true or false, or a list of them")
    return values


Column = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Values = Annotated[tuple[str | int | float | bool, ...], BeforeValidator(_as_values)]


class NodeSource(_Strict):
    """Source of the nodes of a label: a table, the ends of relationships, or both."""

    source: Any = Field(
        default=None, description="A file (.csv, .tsv, .parquet, .jsonl), or a pandas, polars or Arrow table."
    )
    key: Column | None = Field(default=None, description="Column with the ids; the schema's key if not given.")
    properties: dict[str, Column] = Field(
        default_factory=dict, description="Property → column; a property with a column of its own name needs no entry."
    )
    list_separator: str | None = Field(default=None, min_length=1, description="Separator of the values of a list.")
    where: dict[Column, Values] = Field(
        default_factory=dict, description="Column → value or values; only rows with one of them are read."
    )
    from_ends: bool = Field(
        default=False, description="Whether an unknown end of a relationship creates a node that has only its id."
    )


class RelationshipSource(_Strict):
    """Source of the relationships of a type."""

    source: Any = Field(description="A file (.csv, .tsv, .parquet, .jsonl), or a pandas, polars or Arrow table.")
    from_: Column | None = Field(
        default=None, alias="from", description="Column with ids; default: the start label's key."
    )
    to: Column | None = Field(default=None, description="Column with ids; default: the end label's key.")
    from_label: str | None = Field(default=None, description="Start label, if the schema allows several.")
    to_label: str | None = Field(default=None, description="End label, if the schema allows several.")
    properties: dict[str, Column] = Field(
        default_factory=dict, description="Property → column; a property with a column of its own name needs no entry."
    )
    list_separator: str | None = Field(
        default=None, min_length=1, description="Separator of several ids of an end, and of the values of a list."
    )
    where: dict[Column, Values] = Field(
        default_factory=dict, description="Column → value or values; only rows with one of them are read."
    )
    skip_empty: bool | None = Field(
        default=None, description="Whether rows with an empty end are left out; default: true, false for behaviors."
    )
    skip_unknown: bool = Field(default=False, description="Whether rows with an unknown end are left out.")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


class TableMapping(_Strict):
    """A complete mapping; a relationship type may have a list of sources."""

    nodes: dict[str, NodeSource] = Field(default_factory=dict, description="Label → source.")
    relationships: dict[str, Annotated[tuple[RelationshipSource, ...], BeforeValidator(_as_list)]] = Field(
        default_factory=dict, description="Type → source or sources."
    )


def read_mapping(source: Mapping[str, Any] | str | Path) -> tuple[TableMapping, str, Path]:
    """Return (mapping, its name in error messages, base folder of relative paths).

    Raises:
        UsageError: `source` is neither a mapping nor a YAML file.
        DataError: lists every problem of the mapping.
    """
    if isinstance(source, Mapping):
        return _checked(source, "mapping"), "mapping", Path()
    if not isinstance(source, str | Path):
        raise UsageError(f"found a mapping of type {type(source).__name__}; expected a dictionary, or a YAML file")
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"no mapping file {str(source)!r}; expected a YAML file, or a dictionary")
    try:
        data, tree = read_document(read_text(path))
    except yaml.YAMLError as error:
        reason, line = described(error)
        raise DataError([Problem(str(path), reason, "valid YAML", line)]) from None
    expected = "it once; a type with several sources has a list of them"
    if twice := [Problem(str(path), f"{key!r} given twice", expected, line) for key, line in _duplicate_keys(tree)]:
        raise DataError(twice)
    return _checked(data, str(path)), str(path), path.parent


def _duplicate_keys(tree: yaml.Node | None) -> Iterator[tuple[str, int]]:
    """Yield the duplicate keys of a mapping, of which YAML would silently keep the last, and their lines."""
    waiting, seen = [tree], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            names = [key.value for key in keys]
            yield from ((key.value, key.start_mark.line + 1) for n, key in enumerate(keys) if key.value in names[:n])
            waiting += [value for _, value in node.value]
        else:
            waiting += node.value


def _checked(data: Any, where: str) -> TableMapping:
    parts = list(data.values()) if isinstance(data, Mapping) else [data]
    if all(part is None or (isinstance(part, Mapping | list) and not part) for part in parts):
        raise DataError([Problem(where, "nothing", "the key 'nodes' or 'relationships', with a source")])
    problems = list(_without_source(data, where))
    try:
        mapping = TableMapping.model_validate(data)
    except ValidationError as error:
        raise DataError(problems + [_problem(where, fault) for fault in error.errors()]) from None
    if problems:
        raise DataError(problems)
    return mapping


def _without_source(data: Any, where: str) -> Iterator[Problem]:
    nodes = data.get("nodes") if isinstance(data, Mapping) else None
    for label, node in nodes.items() if isinstance(nodes, Mapping) else ():
        if isinstance(node, Mapping) and node.get("source") is None and not node.get("from_ends"):
            yield Problem(where, "nothing", "the key 'source'", field=f"nodes.{label}")


def _problem(where: str, fault: Any) -> Problem:
    path = list(fault["loc"])
    if fault["type"] == "missing":
        return Problem(where, "nothing", f"the key {path[-1]!r}", field=_dotted(path[:-1]))
    if fault["type"] == "extra_forbidden":
        known = RelationshipSource if path[0] == "relationships" else NodeSource
        keys = [field.alias or name for name, field in (known if len(path) > 1 else TableMapping).model_fields.items()]
        return Problem(where, f"unknown key {path[-1]!r}", f"one of {', '.join(keys)}", field=_dotted(path))
    return Problem(
        where, repr(fault["input"])[:60], fault["msg"].removeprefix("Value error, ").lower(), field=_dotted(path)
    )


def _dotted(path: list[Any]) -> str | None:
    return ".".join(str(part) for part in path) or None
