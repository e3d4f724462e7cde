"""Schema of a graph, read from one YAML file: labels, relationship types, properties, roles, text templates.

Example:

    name: movies
    nodes:
      User:  {key: user_id, properties: {age: int}, text: ["watched {RATED:10}"]}
      Movie: {key: item_id, name: title, properties: {title: string}, text: ["{title}", "genres: {HAS_GENRE}"]}
      Genre: {key: genre_id}
    relationships:
      RATED:     {from: User, to: Movie, properties: {rating: float, timestamp: float}}
      HAS_GENRE: {from: Movie, to: Genre}
    roles:
      users: User
      items: Movie
      behaviours:
        RATED: {weight: rating, time: timestamp}
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kgrec._util import html
from kgrec._util.safe_yaml import described, read_document, read_text
from kgrec.data.schema_checks import Fault, FaultPath, reference_faults, type_fault
from kgrec.data.schema_parts import EdgeType, RelationshipType, SchemaParts
from kgrec.errors import Problem, SchemaError, UsageError

MAX_WRITTEN_TYPES = 500
"""Maximum number of non-empty edge types per source: the embedded store holds 8 MB for each until all are written."""


class Schema(SchemaParts):
    """A validated schema. Create one with `Schema.load`, `Schema.parse` or `Schema.from_dict`."""

    @classmethod
    def load(cls, source: str | Path) -> Schema:
        """Read a schema from a YAML file, or a shipped schema by name (`movies`, `commerce`).

        Raises:
            SchemaError: lists every problem with file and line.
            UsageError: no such file and no such shipped schema.
        """
        path = Path(source)
        if path.is_file():
            try:
                text = read_text(path)
            except yaml.YAMLError as error:
                raise SchemaError([_yaml_problem(str(path), error)]) from None
            return cls.parse(text, where=str(path))
        shipped = resources.files("graph_schema")
        if not (shipped / f"{source}.yaml").is_file():
            names = sorted(f.name[:-5] for f in shipped.iterdir() if f.name.endswith(".yaml"))
            raise UsageError(f"no schema file {str(source)!r}; expected a path or one of {', '.join(names)}")
        return cls.parse((shipped / f"{source}.yaml").read_text(encoding="utf-8"), where=f"{source}.yaml")

    @classmethod
    def parse(cls, text: str, where: str = "schema") -> Schema:
        """Read a schema from YAML text; `where` is its name in error messages.

        Raises:
            SchemaError: lists every problem with file and line.
        """
        try:
            data, tree = read_document(text)
        except yaml.YAMLError as error:
            raise SchemaError([_yaml_problem(where, error)]) from None
        lines: dict[FaultPath, int] = {(): 1}
        twice = list(_walk(tree, (), lines)) if tree else []
        faults: list[Fault] = [(path, f"{path[-1]!r} given twice", "one definition") for path in twice]
        return cls._checked(data, where, lines, faults)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "schema") -> Schema:
        """Create a schema from plain dictionaries, with the same checks as for a file.

        Raises:
            SchemaError: lists every problem.
        """
        return cls._checked(dict(data), where, {}, [])

    @classmethod
    def _checked(cls, data: Any, where: str, lines: Mapping[FaultPath, int], faults: list[Fault]) -> Schema:
        schema = None
        try:
            schema = cls.model_validate(data)
            faults += reference_faults(schema)
        except ValidationError as error:
            faults += [type_fault(e) for e in error.errors()]
        if faults or schema is None:
            problems = [_problem(where, lines, *fault) for fault in faults]
            raise SchemaError(sorted(problems, key=lambda problem: problem.row or 0))
        return schema

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain dictionaries, which `from_dict` reads."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def to_yaml(self) -> str:
        """Return the schema as editable YAML text, which `parse` reads."""
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110))

    def _repr_html_(self) -> str:
        nodes = [(label, node.key, ", ".join(node.properties)) for label, node in self.nodes.items()]
        edges = [
            (type_, ", ".join(relation.from_), ", ".join(relation.to), "yes" if type_ in self.roles.behaviours else "")
            for type_, relation in self.relationships.items()
        ]
        return (
            html.title(f"Schema {self.name}")
            + html.table(["node label", "key", "properties"], nodes)
            + html.table(["relationship type", "from", "to", "interaction"], edges)
        )

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the schema's content."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def edge_types(self, type_: str) -> list[EdgeType]:
        """Return every (source label, type, target label) that a relationship type allows."""
        relationship = self.relationships[type_]
        return [(a, type_, b) for a, b in itertools.product(relationship.from_, relationship.to)]

    def all_edge_types(self) -> list[EdgeType]:
        """Return the edge types of every relationship type, in the schema's order."""
        return [edge_type for type_ in self.relationships for edge_type in self.edge_types(type_)]

    def is_behavior(self, edge_type: EdgeType) -> bool:
        """Return whether an edge type is a behavior (a user-item interaction)."""
        return edge_type[1] in self.roles.behaviours

    def edge_key(self, type_: str) -> list[str]:
        """Return the properties that identify a relationship together with its ends: a behavior's time, or none."""
        behavior = self.roles.behaviours.get(type_)
        return [behavior.time] if behavior and behavior.time else []

    def with_relationships(self, types: Mapping[str, RelationshipType]) -> Schema:
        """Return the schema extended by relationship types found in the data.

        A declared type keeps its declaration.

        Raises:
            SchemaError: a new type refers to an unknown label.
        """
        data = self.to_dict()
        new = {t: r.model_dump(mode="json", by_alias=True) for t, r in types.items()}
        data["relationships"] = {**new, **data["relationships"]}
        return Schema.from_dict(data, where=self.name)


def _yaml_problem(where: str, error: yaml.YAMLError) -> Problem:
    reason, line = described(error)
    return Problem(where, f"broken YAML ({reason})", "valid YAML", line or 1)


def _walk(node: yaml.Node, path: FaultPath, lines: dict[FaultPath, int]) -> Iterator[FaultPath]:
    """Record the line of every key below `node`; yield the path of each duplicate key."""
    if isinstance(node, yaml.MappingNode):
        last: dict[str, yaml.Node] = {}
        for key, value in node.value:
            below = (*path, key.value)
            if key.value in last:
                yield below
            # YAML keeps the last definition, so keep the line of the last one.
            last[key.value], lines[below] = value, key.start_mark.line + 1
        for name, value in last.items():
            yield from _walk(value, (*path, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            yield from _walk(value, (*path, index), lines)


def _problem(where: str, lines: Mapping[FaultPath, int], path: FaultPath, found: str, expected: str) -> Problem:
    known = path
    while known and known not in lines:
        known = known[:-1]
    return Problem(where, found, expected, lines.get(known), ".".join(str(p) for p in path) or None)
