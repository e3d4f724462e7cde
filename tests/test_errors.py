from __future__ import annotations

import pytest

from kgrec import errors
from kgrec.errors import DataError, KgrecError, Problem, SchemaError, UnknownItem, UnknownUser, UsageError, near_matches


def test_every_error_is_a_documented_kgrec_error():
    public = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    for error in public:
        assert issubclass(error, KgrecError)
        assert error.__name__.startswith("_") or error.__name__ in errors.__doc__


def test_usage_error_is_a_value_error():
    with pytest.raises(ValueError, match="k=0"):
        raise UsageError("found k=0")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("a.csv", "'x'", "an int", row=7, field="age"), "a.csv:7: age: found 'x'; expected an int"),
        (Problem("a.csv", "no header", "a header"), "a.csv: found no header; expected a header"),
    ],
)
def test_problem_has_where_found_and_expected(problem, text):
    assert str(problem) == text


def test_all_problems_are_kept_and_twenty_shown():
    problems = [Problem("a.csv", f"'{n}'", "an int", row=n) for n in range(1, 24)]
    error = DataError(problems)
    lines = str(error).splitlines()
    assert error.problems == problems
    assert lines[0] == "23 problems in the data:"
    assert lines[1].strip() == "a.csv:1: found '1'; expected an int"
    assert len(lines) == 22
    assert lines[-1].strip() == "… and 3 more"


def test_one_problem_is_not_plural():
    assert str(SchemaError([Problem("s.yaml", "x", "y")])).startswith("1 problem in the schema:")


@pytest.mark.parametrize(
    ("error", "role", "near"), [(UnknownUser, "user", "."), (UnknownItem, "item", "; near matches")]
)
def test_unknown_id_lists_near_items_but_no_users(error, role, near):
    caught = error(["alise", "x"], ["alice", "alicia", "bob"], "Ask for somebody known.")
    assert isinstance(caught, UsageError)
    assert str(caught).startswith(f"unknown {role}: 'alise', 'x'{near}")
    assert ("alice" in str(caught)) == (role == "item")
    assert "bob" not in str(caught)
    assert str(caught).endswith("Ask for somebody known.")
    assert caught.missing == ["alise", "x"]


def test_near_users_are_listed_on_request():
    assert UnknownUser(["alise"], ["alice", "bob"], "Hint.").near() == ["alice"]


def test_many_unknown_ids_are_counted():
    assert "'4' and 3 more" in str(UnknownUser([str(n) for n in range(8)], [], "Hint."))


def test_unknown_id_without_near_matches_lists_none():
    assert near_matches("zzz", ["alice"]) == ""


def test_shown_problems_cover_every_kind_in_row_order() -> None:
    bad = [Problem("a.csv", "'x'", "an int", row=n, field="age") for n in range(9, 70)]
    late = Problem("a.csv", "a time in the future", "a time up to now", row=7, field="at")
    other = Problem("b.csv", "no header", "a header")
    lines = str(DataError([*bad, other, late])).splitlines()
    assert lines[1:3] == [f"  {late}", f"  {bad[0]}"]
    assert lines[-2:] == [f"  {other}", "  … and 43 more"]
