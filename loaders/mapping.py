"""The mapping of the tables loader: which columns of which sources become which nodes and relationships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kgrec._util.safe_yaml import described, read_text, read_yaml
from kgrec.errors import DataError, Problem, UsageError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NodeSource(_Strict):
    """Where the nodes of a label come from."""

    source: Any = Field(description="A file (.csv, .tsv, .parquet, .jsonl), or a pandas or Arrow table.")
    key: str | None = Field(default=None, description="Column with the ids; the schema's key if not given.")
    properties: dict[str, str] = Field(
        default_factory=dict, description="Property → column; a property with a column of its own name needs no entry."
    )
    list_separator: str | None = Field(default=None, min_length=1, description="What separates the values of a list.")


class RelationshipSource(_Strict):
    """Where relationships of a type come from."""

    source: Any = Field(description="A file (.csv, .tsv, .parquet, .jsonl), or a pandas or Arrow table.")
    from_: str | None = Field(default=None, alias="from", description="Column with ids; else the start label's key.")
    to: str | None = Field(default=None, description="Column with ids; else the end label's key.")
    from_label: str | None = Field(default=None, description="Start label, where the schema allows several.")
    to_label: str | None = Field(default=None, description="End label, where the schema allows several.")
    properties: dict[str, str] = Field(
        default_factory=dict, description="Property → column; a property with a column of its own name needs no entry."
    )
    list_separator: str | None = Field(default=None, min_length=1, description="What separates the values of a list.")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


class TableMapping(_Strict):
    """The whole mapping; a relationship type may have a list of sources."""

    nodes: dict[str, NodeSource] = Field(default_factory=dict, description="Label → source.")
    relationships: dict[str, Annotated[tuple[RelationshipSource, ...], BeforeValidator(_as_list)]] = Field(
        min_length=1, description="Type → source or sources."
    )


def read_mapping(source: Mapping[str, Any] | str | Path) -> tuple[TableMapping, str, Path]:
    """Return (mapping, its name for errors, the folder that relative files are in).

    Raises:
        UsageError: `source` is neither a mapping nor a YAML file.
        DataError: with everything wrong in it.
    """
    if isinstance(source, Mapping):
        return _checked(source, "mapping"), "mapping", Path()
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"no mapping file {str(source)!r}; expected a YAML file, or a dictionary")
    try:
        data = read_yaml(read_text(path))
    except yaml.YAMLError as error:
        reason, line = described(error)
        raise DataError([Problem(str(path), reason, "valid YAML", line)]) from None
    return _checked(data, str(path)), str(path), path.parent


def _checked(data: Any, where: str) -> TableMapping:
    try:
        return TableMapping.model_validate(data)
    except ValidationError as error:
        raise DataError([_problem(where, fault) for fault in error.errors()]) from None


def _problem(where: str, fault: Any) -> Problem:
    path = list(fault["loc"])
    if fault["type"] == "missing":
        return Problem(where, "nothing", f"the key {path[-1]!r}", field=_dotted(path[:-1]))
    if fault["type"] == "extra_forbidden":
        known = RelationshipSource if path[0] == "relationships" else NodeSource
        keys = [field.alias or name for name, field in (known if len(path) > 1 else TableMapping).model_fields.items()]
        return Problem(where, f"unknown key {path[-1]!r}", f"one of {', '.join(keys)}", field=_dotted(path))
    return Problem(where, repr(fault["input"])[:60], fault["msg"].lower(), field=_dotted(path))


def _dotted(path: list[Any]) -> str | None:
    return ".".join(str(part) for part in path) or None
