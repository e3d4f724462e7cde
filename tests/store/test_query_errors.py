from __future__ import annotations

import pytest

from kgrec.store.query_errors import offset_of, refused, too_long, too_many


def test_caret_marks_the_fault() -> None:
    query = "MATCH (u)\n  RETRN u\n"
    text = str(refused(query, "no RETRN", "neo4j", offset_of(query, 2, 3)))
    assert text == "no RETRN\nin the query:\n  MATCH (u)\n    RETRN u\n    ^"


@pytest.mark.parametrize(
    ("engine", "query", "hint"),
    [
        ("ladybug", "MATCH p = shortestPath((a)-[*..5]-(b)) RETURN p", "ladybug has no shortestPath()"),
        ("ladybug", "MATCH (u) CALL (u) { RETURN 1 AS x } RETURN x", "ladybug has no CALL { } subqueries"),
        ("ladybug", "MATCH (u) SET u += $map", "ladybug has no SET n += map"),
        ("ladybug", "MATCH (a)-[*]->(b) RETURN b", "ladybug has no paths of unbounded length"),
        ("neo4j", "MATCH (a)-[r* SHORTEST 1..5]-(b) RETURN r", "neo4j has no * SHORTEST"),
        ("neo4j", "RETURN CAST('1' AS INT64)", "neo4j has no CAST()"),
        ("oxigraph", "MATCH (u) RETURN u", "oxigraph has no Cypher"),
        ("oxigraph", "INSERT DATA { <a:a> <a:b> 1 }", "no updates in a query that only reads"),
    ],
)
def test_unsupported_feature_is_named(engine: str, query: str, hint: str) -> None:
    assert hint in str(refused(query, "refused", engine))


def test_limits_are_reported() -> None:
    assert "stopped after 0.5 s" in str(too_long("RETURN 1", 0.5))
    assert "more than 1,000 rows" in str(too_many("RETURN 1", 1000))


def test_read_only_query_error_says_how_to_write() -> None:
    assert "--write, or write=True" in str(refused("CREATE (:A)", "Cannot write to a read-only database!", "ladybug"))
