from __future__ import annotations

import pytest
import yaml

from kgrec.data.schema import Schema
from kgrec.data.schema_checks import template_fields
from kgrec.data.schema_parts import RelationshipType
from kgrec.errors import SchemaError, UsageError

GOOD = """\
name: shop
nodes:
  User: {key: user_id, properties: {age: int}, text: ["bought {BOUGHT:3}"]}
  Item:
    key: item_id
    name: title
    properties:
      title: string
      domain: string
    text: ["{title}"]
relationships:
  BOUGHT: {from: User, to: Item, properties: {price: float, at: datetime, split: string}}
  SIMILAR: {from: Item, to: Item}
roles:
  users: User
  items: Item
  behaviours:
    BOUGHT: {weight: price, time: at, split: split}
  domain: domain
"""


def faults_of(text: str) -> list[str]:
    with pytest.raises(SchemaError) as caught:
        Schema.parse(text, where="shop.yaml")
    return [str(problem) for problem in caught.value.problems]


def with_line(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_parse_valid_schema():
    schema = Schema.parse(GOOD)
    assert schema.all_edge_types() == [("User", "BOUGHT", "Item"), ("Item", "SIMILAR", "Item")]
    assert schema.is_behavior(("User", "BOUGHT", "Item"))
    assert not schema.is_behavior(("Item", "SIMILAR", "Item"))
    assert schema.edge_key("BOUGHT") == ["at"]
    assert schema.edge_key("SIMILAR") == []


def test_type_with_several_labels_gives_one_edge_type_each(market_schema):
    assert market_schema.edge_types("BOUGHT") == [
        ("User", "BOUGHT", "Movie"),
        ("User", "BOUGHT", "Book"),
        ("Guest", "BOUGHT", "Movie"),
        ("Guest", "BOUGHT", "Book"),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            with_line("  Item:\n    key: item_id", "  Item:\n    kye: x\n    key: item_id"),
            "shop.yaml:5: nodes.Item.kye: found unknown key 'kye'; expected a key of the schema language",
        ),
        (
            with_line("    key: item_id\n", ""),
            "shop.yaml:4: nodes.Item: found nothing; expected the key 'key'",
        ),
        (
            with_line("      domain: string", "      domain: text"),
            "shop.yaml:9: nodes.Item.properties.domain: found 'text'; expected 'string', 'int', 'float', 'bool'",
        ),
        (
            with_line("SIMILAR: {from: Item, to: Item}", "SIMILAR: {from: Item, to: Thing}"),
            "shop.yaml:13: relationships.SIMILAR.to: found missing label 'Thing'; expected one of User, Item",
        ),
        (
            with_line("  items: Item", "  items: [Item, Film]"),
            "shop.yaml:16: roles.items: found missing label 'Film'; expected one of User, Item",
        ),
        (
            with_line("  items: Item", "  items: User"),
            "shop.yaml:16: roles.items: found 'User', which is a user label; expected labels of items only",
        ),
        (
            with_line('["{title}"]', '["all about it", "{titel}"]'),
            "shop.yaml:10: nodes.Item.text.1: found {titel}, which Item does not have; expected one of item_id, title",
        ),
        (
            with_line('["{title}"]', '["{title"]'),
            "shop.yaml:10: nodes.Item.text.0: found '{title': expected '}' before end of string; expected a template",
        ),
        (
            with_line("{BOUGHT:3}", "{BOUGHT:few}"),
            "shop.yaml:3: nodes.User.text.0: found {BOUGHT:few}; expected 60 tokens, or of a relationship 5",
        ),
        (
            with_line("{BOUGHT:3}", "{BOUGHT:3, 0 tokens}"),
            "shop.yaml:3: nodes.User.text.0: found {BOUGHT:3, 0 tokens}; expected 60 tokens, or of",
        ),
        (
            with_line('["{title}"]', '["{title:5}"]'),
            "shop.yaml:10: nodes.Item.text.0: found {title:5}; expected 60 tokens, or of a relationship 5",
        ),
        (
            with_line('["{title}"]', '["{behaviours}"]'),
            "shop.yaml:10: nodes.Item.text.0: found {behaviours}, which Item does not have; expected one of item_id",
        ),
        (
            with_line("{BOUGHT:3}", "{SIMILAR:3}"),
            "shop.yaml:3: nodes.User.text.0: found {SIMILAR}, which User does not have",
        ),
        (
            with_line("weight: price", "weight: cost"),
            "shop.yaml:18: roles.behaviours.BOUGHT.weight: found 'cost' (not a property); "
            "expected a property of BOUGHT of type int or float",
        ),
        (
            with_line("time: at", "time: split"),
            "shop.yaml:18: roles.behaviours.BOUGHT.time: found 'split' (string); "
            "expected a property of BOUGHT of type int or float or datetime",
        ),
        (
            with_line("    BOUGHT: {weight: price, time: at, split: split}", "    SOLD: {}"),
            "shop.yaml:18: roles.behaviours.SOLD: found missing relationship type 'SOLD'; expected one of BOUGHT",
        ),
        (
            with_line("    BOUGHT: {weight: price, time: at, split: split}", "    SIMILAR: {}"),
            "shop.yaml:18: roles.behaviours.SIMILAR: found ('Item',) to ('Item',); expected a type from users to items",
        ),
        (
            with_line("  domain: domain", "  domain: shelf"),
            "shop.yaml:19: roles.domain: found 'shelf'; expected a property of Item",
        ),
        (
            with_line("    name: title", "    name: label"),
            "shop.yaml:6: nodes.Item.name: found 'label'; expected one of item_id, title, domain",
        ),
        (
            with_line("      title: string", "      title: string\n      item_id: string"),
            "shop.yaml:9: nodes.Item.properties.item_id: found the key 'item_id'; expected properties without the key",
        ),
        (
            with_line("      title: string", "      title: string\n      embedding: string"),
            "shop.yaml:9: nodes.Item.properties.embedding: found reserved name 'embedding'; expected another name",
        ),
        (
            with_line("  SIMILAR: {", "  RECOMMENDED: {"),
            "shop.yaml:13: relationships.RECOMMENDED: found reserved name 'RECOMMENDED'",
        ),
        (
            with_line("  SIMILAR: {from: Item, to: Item}", "  SIMILAR: {from: Item, to: Item, properties: {src: int}}"),
            "shop.yaml:13: relationships.SIMILAR.properties.src: found reserved name 'src'",
        ),
        (
            with_line(
                "  SIMILAR: {from: Item, to: Item}", "  SIMILAR: {from: Item, to: Item, properties: {x: vector}}"
            ),
            "shop.yaml:13: relationships.SIMILAR.properties.x: found a vector; expected another type; only nodes have",
        ),
        (
            with_line("      title: string", "      title: vector"),
            "shop.yaml:10: nodes.Item.text.0: found {title}, a vector; expected something that can be read",
        ),
        (
            with_line("  SIMILAR: {", "  is-like: {"),
            "shop.yaml:13: relationships.is-like: found name 'is-like'; expected letters, digits and _",
        ),
        (
            with_line("  SIMILAR: {from: Item, to: Item}", "  BOUGHT: {from: User, to: Item}"),
            "shop.yaml:13: relationships.BOUGHT: found 'BOUGHT' given twice; expected one definition",
        ),
        (with_line("roles:", "roles: ]"), "shop.yaml:14: found broken YAML ("),
        (with_line("name: shop", "name: \0"), "shop.yaml:1: found broken YAML ("),
        (with_line("name: shop", "name: !!python/name:os.system x"), "shop.yaml:1: found broken YAML ("),
        (with_line("name: shop", "? [a, b]\n: shop"), "shop.yaml:1: found broken YAML ("),
        ("", "shop.yaml:1: found None; expected "),
        ("- a list", "shop.yaml:1: found ['a list']; expected "),
    ],
)
def test_parse_fault_has_file_and_line(text, fault):
    faults = faults_of(text)
    assert any(found.startswith(fault) for found in faults), "\n".join(faults)


def test_parse_reports_all_faults():
    text = GOOD.replace("time: at", "time: when").replace("to: Item}", "to: Thing}").replace("{title}", "{titel}")
    places = [fault.split(" found")[0] for fault in faults_of(text)]
    assert places == [
        "shop.yaml:10: nodes.Item.text.0:",
        "shop.yaml:13: relationships.SIMILAR.to:",
        "shop.yaml:18: roles.behaviours.BOUGHT.time:",
    ]


def test_yaml_and_dictionary_give_equal_schemas(market_schema):
    for schema in (Schema.parse(GOOD), market_schema):
        assert Schema.parse(schema.to_yaml()) == schema
        assert Schema.from_dict(schema.to_dict()) == schema
        assert Schema.parse(schema.to_yaml()).digest == schema.digest


def test_digest_ignores_key_order():
    data = yaml.safe_load(GOOD)
    data["nodes"]["Item"]["properties"] = dict(reversed(data["nodes"]["Item"]["properties"].items()))
    assert Schema.from_dict(dict(reversed(data.items()))).digest == Schema.parse(GOOD).digest
    assert Schema.parse(GOOD.replace("age: int", "age: float")).digest != Schema.parse(GOOD).digest


def test_from_dict_checks_like_a_file():
    with pytest.raises(SchemaError, match=r"schema: nodes.Item.color: found unknown key 'color'"):
        Schema.from_dict(yaml.safe_load(with_line("    key: item_id", "    key: item_id\n    color: red")))


def test_load_reads_a_file(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert Schema.load(path) == Schema.parse(GOOD)
    path.write_text(GOOD.replace("key: user_id", "kee: user_id"), encoding="utf-8")
    with pytest.raises(SchemaError, match=r"shop\.yaml:3: nodes\.User"):
        Schema.load(path)


def test_load_binary_file_fails(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Läden".encode("latin-1"))
    with pytest.raises(SchemaError, match=r"latin\.yaml.*bytes that are not UTF-8"):
        Schema.load(path)


def test_load_missing_schema_fails():
    with pytest.raises(UsageError, match=r"no schema file 'mooovies'; expected a path or one of "):
        Schema.load("mooovies")


def test_with_relationships_keeps_declared_types():
    schema = Schema.parse(GOOD)
    found = RelationshipType(from_=("Item",), to=("Item",))
    wider = schema.with_relationships({"FILM_ACTOR": found, "BOUGHT": found})
    assert wider.relationships["FILM_ACTOR"] == found
    assert wider.relationships["BOUGHT"] == schema.relationships["BOUGHT"]
    with pytest.raises(SchemaError, match=r"relationships\.OF\.to: found missing label 'Entity'"):
        schema.with_relationships({"OF": RelationshipType(from_=("Item",), to=("Entity",))})


def test_schema_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Schema.parse(GOOD).name = "other"


def test_template_fields_are_parsed():
    assert template_fields("by {AUTHOR:3}, {year}; {{not this}}") == [("AUTHOR", "3"), ("year", "")]
