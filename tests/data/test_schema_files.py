"""The shipped schemas."""

from importlib import resources

import pytest

from kgrec.data.schema import Schema
from kgrec.data.schema_checks import template_fields

NAMES = sorted(f.name[:-5] for f in resources.files("graph_schema").iterdir() if f.name.endswith(".yaml"))


def test_shipped_schemas_load() -> None:
    assert NAMES == ["commerce", "movies"]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_schemas_survive_round_trip(name: str) -> None:
    schema = Schema.load(name)
    assert schema.name == name
    assert Schema.parse(schema.to_yaml()) == schema


@pytest.mark.parametrize("name", NAMES)
def test_users_and_items_have_texts(name: str) -> None:
    schema = Schema.load(name)
    for label in (*schema.roles.users, *schema.roles.items):
        fields = [field for sentence in schema.nodes[label].text for field, _ in template_fields(sentence)]
        assert len(fields) > 1
    user = [field for sentence in schema.nodes[schema.roles.users[0]].text for field, _ in template_fields(sentence)]
    assert set(user) & set(schema.roles.behaviours)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_names_differ_only_in_case(name: str) -> None:
    schema = Schema.load(name)
    names = [word.casefold() for word in (*schema.nodes, *schema.relationships)]
    assert len(names) == len(set(names))


def test_commerce_has_several_behaviors_and_domains() -> None:
    roles = Schema.load("commerce").roles
    assert list(roles.behaviours) == ["VIEWED", "ADDED_TO_CART", "PURCHASED", "RATED"]
    assert roles.domain == "domain"


def test_movies_schema_matches_movielens() -> None:
    schema = Schema.load("movies")
    assert schema.nodes["User"].properties["age"] == "int"
    assert schema.nodes["Movie"].properties["release_year"] == "int"
    assert schema.relationships["HAS_GENRE"].to == ("Genre",)
