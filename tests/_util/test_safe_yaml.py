"""YAML bombs: excessive aliases, nesting and sizes are refused wherever YAML is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kgrec._util.safe_yaml import read_yaml
from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.errors import DataError, SchemaError, UsageError
from loaders.mapping import read_mapping

BOMB = "\n".join(
    ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)), "name: *a9"]
)
MERGES = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 10))]
)
TOO_MUCH = {
    "aliases": (BOMB, "aliases that expand to more than 100,000 values"),
    "merges": (MERGES, "aliases that expand to more than 100,000 values"),
    "itself": ("a: &a [*a]", "an alias of a value that contains it"),
    "depth": ("[" * 3000 + "]" * 3000, "nested more than 50 deep"),
    "length": ("a: " + "x" * 2_000_000, "at most 1,048,576 are read"),
    "file": ("a: " + "x" * 5_000_000, "1,048,576"),
    "integer": ("a: " + "9" * 5000, "is no int"),
    "date": ("\n\na: 2026-02-30", "'2026-02-30' is no timestamp"),
    "tag": ("a: !!bool maybe", "'maybe' is no bool"),
}
READERS: dict[str, tuple[type[Exception], Callable[[Path], object]]] = {
    "schema": (SchemaError, Schema.load),
    "config": (UsageError, Config.read),
    "mapping": (DataError, read_mapping),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", TOO_MUCH)
def test_read_too_much_yaml_one_message(tmp_path: Path, reader: str, kind: str) -> None:
    text, message = TOO_MUCH[kind]
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    error, read = READERS[reader]
    with pytest.raises(error, match=message):
        read(path)


def test_read_yaml_few_aliases_values() -> None:
    assert read_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert read_yaml("") is None
    with pytest.raises(yaml.YAMLError, match="undefined alias"):
        read_yaml("a: *b")


def _schema(n_labels: int, n_types: int) -> dict[str, object]:
    labels = {f"L{i}": {"key": "id"} for i in range(n_labels)}
    types = {f"T{i}": {"from": list(labels), "to": list(labels)} for i in range(n_types)}
    roles = {"users": "L0", "items": "L1", "behaviours": {"T0": {}}}
    return {"name": "wide", "nodes": labels, "relationships": types, "roles": roles}


@pytest.mark.parametrize(("n_labels", "n_types"), [(1001, 1), (20, 10)])
def test_schema_too_wide_one_fault(n_labels: int, n_types: int) -> None:
    with pytest.raises(SchemaError, match=r"4,000 relationship types; expected at most 2,000|1,001 labels"):
        Schema.from_dict(_schema(n_labels, n_types))


def test_schema_key_repeated_often_quick() -> None:
    text = "name: a\n" * 5_000
    with pytest.raises(SchemaError) as caught:
        Schema.parse(text)
    assert len(caught.value.problems) >= 4_999


def test_config_setting_nested_deep_refused() -> None:
    with pytest.raises(UsageError, match="expected a name, two such as"):
        Config.read(overrides=["a" + ".a" * 10_000 + "=1"])


def test_config_many_unknown_settings_bounded() -> None:
    with pytest.raises(UsageError) as caught:
        Config.read(overrides=[f"x{i}={'y' * 1000}" for i in range(1000)])
    assert "and 980 more" in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_schema_many_properties_one_fault() -> None:
    schema = _schema(2, 1)
    labels = schema["nodes"]
    assert isinstance(labels, dict)
    labels["L0"]["properties"] = {f"p{i}": "int" for i in range(2001)}
    with pytest.raises(SchemaError, match=r"nodes\.L0\.properties: found 2,001 properties; expected at most 2,000"):
        Schema.from_dict(schema)
