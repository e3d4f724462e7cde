from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.testing.encoder import WordEncoder
from kgrec.text import TransformersEncoder, VectorCache, describe, encoded_texts, text_vectors


@pytest.fixture
def shop(market):
    """The market, with the labels' templates given by the test."""

    def with_templates(**templates):
        data = market.schema.to_dict()
        for label, text in templates.items():
            data["nodes"][label]["text"] = text
        return GraphSnapshot.from_tables(check(replace(market, schema=Schema.from_dict(data))))

    return with_templates


def texts(snapshot, label):
    return dict(zip(snapshot.ids(label).to_pylist(), describe(snapshot, label), strict=True))


def test_sentence_with_missing_value_is_omitted(shop):
    snapshot = shop(Movie=["{title}", "of {year}, genres: {genres}"])
    assert texts(snapshot, "Movie") == {
        "m1": "Alien. of 1979, genres: space",
        "m2": "",
        "m3": "Solaris. of 1972, genres: drama, space",
    }


def test_sentence_without_fields_is_in_every_text(shop):
    assert list(describe(shop(Author=["a person"]), "Author")) == ["a person"]


def test_label_without_template_has_no_text(shop):
    assert list(describe(shop(), "Movie")) == ["", "", ""]


def test_values_are_formatted(shop):
    snapshot = shop(Movie=["{movie_id}", "since {added}"], Book=["{year}", "{in_print}", "{{{shelf}}}"])
    assert texts(snapshot, "Movie") == {"m1": "m1", "m2": "m2. since 2021-03-04", "m3": "m3. since 2020-01-02"}
    assert texts(snapshot, "Book") == {"b1": "1961. true. {A}", "b2": "1979. {B}"}


def test_neighbors_are_found_in_both_directions(shop):
    snapshot = shop(Author=["wrote {WROTE}"], Book=["by {WROTE}"], Movie=["seen by {VIEWED}"])
    assert texts(snapshot, "Author") == {"a1": "wrote b1, b2"}
    assert texts(snapshot, "Book") == {"b1": "by a1", "b2": "by a1"}
    assert texts(snapshot, "Movie") == {"m1": "seen by u1", "m2": "", "m3": ""}


def test_items_are_newest_first_over_all_labels(shop):
    snapshot = shop(User=["bought {BOUGHT}"], Book=["bought by {BOUGHT}"])
    assert texts(snapshot, "User") == {"u1": "bought m2, Alien", "u2": "bought b1, Alien"}
    assert texts(snapshot, "Book") == {"b1": "bought by g1, u2", "b2": "bought by g1"}


def test_limit_keeps_the_newest(shop):
    assert texts(shop(User=["{BOUGHT:1}"]), "User") == {"u1": "m2", "u2": "b1"}


def test_held_out_interaction_is_omitted(shop):
    snapshot = shop(User=["bought {BOUGHT}"], Movie=["bought by {BOUGHT}"])
    train = snapshot.with_behaviors(snapshot.behaviors.time < datetime(2024, 1, 3).timestamp())
    assert not any("m2" in text or "b1" in text for text in describe(train, "User"))
    assert texts(train, "Movie")["m2"] == ""


def films(titles, watched, time="float", text=("{WATCHED}",), **properties):
    """A snapshot of films and one kind of behavior: (user, film, time) rows."""
    schema = Schema.from_dict(
        {
            "name": "films",
            "nodes": {
                "User": {"key": "user_id", "text": list(text)},
                "Film": {"key": "film_id", "name": "title", "properties": {"title": "string", **properties}},
            },
            "relationships": {"WATCHED": {"from": "User", "to": "Film", "properties": {"at": time}}},
            "roles": {"users": "User", "items": "Film", "behaviours": {"WATCHED": {"time": "at"}}},
        }
    )
    users, seen, at = (list(column) for column in zip(*watched, strict=True))
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Film": pa.table({"film_id": list(titles), "title": list(titles.values())}),
    }
    edges = {("User", "WATCHED", "Film"): pa.table({"src": users, "dst": seen, "at": at})}
    return GraphSnapshot.from_tables(check(GraphTables(schema, nodes, edges)))


def test_repeated_item_appears_once_at_latest_time():
    watched = [("u", "a", 1.0), ("u", "b", 2.0), ("u", "a", 3.0), ("u", "c", 0.0)]
    assert texts(films({"a": "A", "b": "B", "c": "C"}, watched), "User") == {"u": "A, B, C"}


def test_ten_neighbors_are_the_default():
    titles = {f"f{i:02}": f"F{i:02}" for i in range(15)}
    watched = [("u", film, float(i)) for i, film in enumerate(titles)]
    assert describe(films(titles, watched), "User")[0] == ", ".join(f"F{i:02}" for i in range(14, 4, -1))


def test_equal_times_follow_node_order():
    assert describe(films({"b": "B", "a": "A"}, [("u", "b", 1.0), ("u", "a", 1.0)]), "User")[0] == "A, B"


def test_blank_names_are_omitted_and_spaces_collapsed():
    watched = [("u", "a", 3.0), ("u", "b", 2.0), ("v", "a", 1.0)]
    snapshot = films({"a": "  ", "b": "B\n\t of  bees "}, watched, text=["{WATCHED:1}"])
    assert texts(snapshot, "User") == {"u": "B of bees", "v": ""}


@pytest.mark.parametrize(("title", "text"), [("Help!", "Help! Seen"), ("Who?", "Who? Seen"), ("Up", "Up. Seen")])
def test_sentences_are_joined_by_one_period(title, text):
    assert describe(films({"a": title}, [("u", "a", 1.0)], text=["{WATCHED}", "Seen"]), "User")[0] == text


def test_describe_equals_reference_implementation():
    """The vectorized text against one written with loops, on random behaviors with repeats and equal times."""
    rng = np.random.default_rng(0)
    titles = {f"f{i:02}": f"F{i:02}" for i in range(30)}
    rows = {(f"u{rng.integers(9)}", f"f{rng.integers(30):02}", float(rng.integers(12))) for _ in range(300)}
    snapshot = films(titles, sorted(rows), text=["{WATCHED:4}"])
    for user, text in texts(snapshot, "User").items():
        latest = {film: max(t for u, f, t in rows if (u, f) == (user, film)) for u, film, _ in rows if u == user}
        best = sorted(latest, key=lambda film: (-latest[film], film))[:4]
        assert text == ", ".join(titles[film] for film in best)


def test_behaviors_field_follows_time(shop):
    snapshot = shop(User=["{behaviours}"], Guest=["{behaviours:1}"])
    assert texts(snapshot, "User") == {
        "u1": "viewed Alien, then bought Alien, then m2",
        "u2": "bought Alien, then b1",
    }
    assert texts(snapshot, "Guest") == {"g1": "bought b2"}


def test_behaviors_field_limit_drops_the_oldest(shop):
    """A behavior counts with its verb and "then", so "then bought Alien," is three tokens where words are tokens."""
    assert texts(shop(User=["{behaviours:2}"]), "User") == {
        "u1": "bought Alien, then m2",
        "u2": "bought Alien, then b1",
    }
    assert texts(shop(User=["{behaviours:9, 6 tokens}"]), "User")["u1"] == "bought Alien, then m2"
    assert texts(shop(User=["{behaviours:5 tokens}"]), "User")["u1"] == "bought m2"
    assert texts(shop(User=["{behaviours:2 tokens}", "who"]), "User")["u1"] == "who"


def test_behaviors_field_without_interactions_is_omitted(shop):
    snapshot = shop(User=["did: {behaviours}", "{neighbours:3, 9 tokens}"])
    nothing = snapshot.with_behaviors(np.zeros(len(snapshot.behaviors), dtype=bool))
    assert texts(nothing, "User") == {"u1": "", "u2": ""}


def test_behaviors_field_omits_held_out_interaction(shop):
    snapshot = shop(User=["{behaviours}"])
    train = snapshot.with_behaviors(~(snapshot.behaviors.time > datetime(2024, 1, 2, 12).timestamp()))
    assert texts(train, "User") == {"u1": "viewed Alien, then bought Alien", "u2": "bought Alien"}


def test_property_name_precedes_reserved_field():
    watched = [("u", "a", 1.0)]
    snapshot = films({"a": "A"}, watched, text=["{WATCHED}"], neighbors="string")
    data = snapshot.schema.to_dict()
    data["nodes"]["Film"]["text"] = ["{neighbours}"]
    own = pa.table({"film_id": ["a"], "title": ["A"], "neighbours": ["the noisy ones"]})
    nodes = {"User": snapshot.nodes["User"], "Film": own}
    named = GraphSnapshot.from_tables(GraphTables(Schema.from_dict(data), nodes, {}))
    assert texts(named, "Film") == {"a": "the noisy ones"}


def test_neighbors_field_names_relationships(shop):
    snapshot = shop(Author=["{neighbours:1}"], Book=["{neighbours}"], Movie=["{neighbours}"])
    assert texts(snapshot, "Author") == {"a1": "wrote: b1"}
    assert texts(snapshot, "Book") == {"b1": "inverse of wrote: a1", "b2": "inverse of wrote: a1"}
    assert texts(snapshot, "Movie") == {"m1": "", "m2": "", "m3": ""}


def test_neighbors_field_lists_each_relationship():
    data = {
        "name": "cinema",
        "nodes": {
            "User": {"key": "user_id"},
            "Film": {"key": "film_id", "text": ["{neighbours}"]},
            "Person": {"key": "person_id"},
        },
        "relationships": {
            "SAW": {"from": "User", "to": "Film"},
            "DIRECTED_BY": {"from": "Film", "to": "Person"},
            "BASED_ON": {"from": "Film", "to": "Film"},
        },
        "roles": {"users": "User", "items": "Film", "behaviours": {"SAW": {}}},
    }
    nodes = {"Film": pa.table({"film_id": ["f", "g"]}), "Person": pa.table({"person_id": ["p", "q"]})}
    edges = {
        ("Film", "DIRECTED_BY", "Person"): pa.table({"src": ["f", "f"], "dst": ["q", "p"]}),
        ("Film", "BASED_ON", "Film"): pa.table({"src": ["g"], "dst": ["f"]}),
    }
    snapshot = GraphSnapshot.from_tables(GraphTables(Schema.from_dict(data), nodes, edges))
    assert texts(snapshot, "Film") == {"f": "directed by: p, q; inverse of based on: g", "g": "based on: f"}


def test_token_limit_keeps_whole_words():
    watched = [("u", "a", 3.0), ("u", "b", 2.0), ("v", "b", 1.0)]
    snapshot = films(
        {"a": "A long title", "b": "Brief"}, watched, text=["saw {WATCHED:4 tokens}", "{user_id:1 tokens}"]
    )
    assert texts(snapshot, "User") == {"u": "saw A long title, Brief. u", "v": "saw Brief. v"}
    shorter = films({"a": "A long title", "b": "Brief"}, watched, text=["saw {WATCHED:3 tokens}"])
    assert texts(shorter, "User") == {"u": "saw A long title", "v": "saw Brief"}


def test_token_limit_uses_the_encoders_tokenizer(packaged):
    """Its tokenizer makes three tokens of "unrecommendably", and two of a word with a comma."""
    watched = [("u", "a", 3.0), ("u", "b", 2.0)]
    titles = {"a": "Dune", "b": "unrecommendably long"}
    count = packaged.count_tokens(["Dune,", "unrecommendably", "long", ""]).tolist()
    assert (count[0], count[2], count[3]) == (2, 1, 0)
    for limit, expected in [(2 + count[1], "Dune, unrecommendably"), (1 + count[1], "Dune")]:
        snapshot = films(titles, watched, text=[f"{{WATCHED:{limit} tokens}}"])
        assert describe(snapshot, "User", packaged.count_tokens)[0] == expected
        assert packaged.count_tokens([expected])[0] <= limit
        encoder = TransformersEncoder(packaged.folder, encode_behaviors=True)
        vectors = text_vectors(snapshot, encoder, VectorCache())["User"]
        np.testing.assert_allclose(vectors, packaged.encode([expected]), atol=1e-4)


def test_token_limit_below_first_word_gives_no_text(packaged):
    snapshot = films({"a": "unrecommendably"}, [("u", "a", 3.0)], text=["saw {WATCHED:1 tokens}"])
    assert describe(snapshot, "User", packaged.count_tokens)[0] == ""


WATCHED = [("u", "a", 1.0), ("u", "b", 2.0), ("u", "c", 3.0), ("v", "c", 1.0)]
TITLES = {"a": "red ship", "b": "old garden", "c": "red robot"}


def watchers(*sentences, watched=WATCHED):
    """Films with titles as texts, and their viewers with the given sentences."""
    snapshot = films(TITLES, watched, text=sentences)
    data = snapshot.schema.to_dict()
    data["nodes"]["Film"]["text"] = ["{title}"]
    return GraphSnapshot(Schema.from_dict(data), snapshot.nodes, snapshot.edges)


def mean(*titles):
    total = WordEncoder().encode(titles).sum(axis=0)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize("sentence", ["saw {WATCHED:2}", "{behaviours:2}"])
def test_user_has_the_mean_vector_of_the_items_named(sentence, tmp_path):
    cache = VectorCache(tmp_path)
    vectors = text_vectors(watchers(sentence), WordEncoder(), cache)["User"]
    np.testing.assert_allclose(vectors, [mean(TITLES["b"], TITLES["c"]), mean(TITLES["c"])], atol=1e-6)
    assert cache.encoded == len(TITLES)


def test_user_with_another_text_has_its_vector(tmp_path):
    snapshot = watchers("saw {WATCHED}", "a viewer {user_id}")
    assert list(encoded_texts(snapshot, WordEncoder())["User"]) == ["a viewer u", "a viewer v"]
    vectors = text_vectors(snapshot, WordEncoder(), VectorCache(tmp_path))["User"]
    np.testing.assert_array_equal(vectors, WordEncoder().encode(["a viewer u", "a viewer v"]))


def test_new_behaviors_need_no_encoding(tmp_path):
    cache, sentences = VectorCache(tmp_path), ("saw {WATCHED}", "{behaviours}")
    before = text_vectors(watchers(*sentences, watched=[*WATCHED[:1], *WATCHED[3:]]), WordEncoder(), cache)
    encoded = cache.encoded
    after = text_vectors(watchers(*sentences), WordEncoder(), cache)
    assert cache.encoded == encoded == len(TITLES)
    assert not np.allclose(before["User"][0], after["User"][0])


def test_encoder_may_ask_for_texts_of_behaviors(tmp_path):
    snapshot = watchers("saw {WATCHED}")
    vectors = text_vectors(snapshot, WordEncoder(encodes_behaviors=True), VectorCache(tmp_path))["User"]
    np.testing.assert_array_equal(vectors, WordEncoder().encode(describe(snapshot, "User")))


def test_token_limit_cuts_texts_without_blanks():
    snapshot = films({"a": "机器人总动员 WALL-E 2008"}, [("u", "a", 3.0)], text=["看过：{WATCHED:7 tokens}。", "很好"])
    assert describe(snapshot, "User")[0] == "看过：机器人总动员 WALL-E。 很好"
    snapshot = films({"a": "机器人总动员"}, [("u", "a", 3.0)], text=["{WATCHED:3 tokens}"])
    assert describe(snapshot, "User")[0] == "机器人"
