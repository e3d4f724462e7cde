import pytest

from loaders.names import identifiers, readable, singular


def test_relations_become_identifiers() -> None:
    assert identifiers(["film.film.actor", "http://dbpedia.org/ontology/starring", "2nd-hand", "é"]) == {
        "film.film.actor": "film_film_actor",
        "http://dbpedia.org/ontology/starring": "starring",
        "2nd-hand": "_2nd_hand",
        "é": "unnamed",
    }


def test_colliding_names_are_numbered_in_any_order() -> None:
    expected = {"a-b": "a_b", "a.b": "a_b_2", "A_B": "A_B_3", "genre": "genre_2"}
    first = identifiers(["a.b", "A_B", "a-b", "genre"], taken=["Genre"])
    assert first == identifiers(["genre", "a-b", "a.b", "A_B"], taken=["Genre"])
    assert sorted(name.casefold() for name in first.values()) == sorted({n.casefold() for n in first.values()})
    assert first["genre"] == expected["genre"]


@pytest.mark.parametrize(
    ("iri", "name"),
    [
        ("http://dbpedia.org/resource/Joseph_F._Biroc", "Joseph F. Biroc"),
        ("http://dbpedia.org/resource/Am%C3%A9lie", "Amélie"),
        ("http://example.org/people/", "people"),
        ("https://example.org/x#The_End", "The End"),
    ],
)
def test_readable_takes_last_part_of_iris(iri: str, name: str) -> None:
    assert readable(iri) == name


@pytest.mark.parametrize(
    ("plural", "noun"),
    [("genres", "genre"), ("categories", "category"), ("class", "class"), ("series", "series"), ("tag", "tag")],
)
def test_singular_of_plural_nouns(plural: str, noun: str) -> None:
    assert singular(plural) == noun
