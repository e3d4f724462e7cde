"""A budget bounds the search: by nominal cost, which is reproducible, or by the clock, without overrunning it."""

import time

import pytest

from kgrec._util.duration import seconds_of
from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.tuning.budget import BALANCED_SECONDS, BASE_SECONDS, Budget, SearchBudget, search_shares


@pytest.mark.parametrize(("budget", "seconds"), [("90s", 90), ("2min", 120), ("1.5h", 5400), (" 1 h ", 3600)])
def test_durations_are_parsed(budget, seconds):
    assert seconds_of(budget) == seconds


@pytest.mark.parametrize("budget", ["", "2", "0min", "-1h", "soon", "2 min 3 s"])
def test_invalid_duration_lists_valid_ones(budget):
    with pytest.raises(UsageError, match="such as 90s, 2min or 1h"):
        Config.checked({"budget": budget})


def test_default_budget_depends_on_data_size():
    small, large = (Budget(None, n).search_budget(1 / 3) for n in (0, 1_000_000))
    assert small.affords(BASE_SECONDS)
    assert not small.affords(BASE_SECONDS + 1)
    assert large.affords(180)
    large.spend(250)
    assert not large.affords(250)


def test_fit_that_exceeds_the_budget_is_skipped():
    search_budget = SearchBudget(0.2, by_clock=True)
    time.sleep(0.11)
    search_budget.spend(0)
    assert not search_budget.affords(0), "0.11 s are spent and the next would take as long"


def test_budget_is_shared_and_reserves_final_fits():
    budget = Budget("100s", 0)
    assert budget.search_budget(1 / 4).seconds == pytest.approx(25, abs=1)
    budget.reserve(60)
    assert budget.search_budget(1).seconds == pytest.approx(40, abs=1)
    budget.reserve(60)
    assert budget.search_budget(1).seconds == 0


def test_search_shares_follow_worth_and_leave_some_to_all():
    shares = search_shares(["a", "b", "c"], {"a": 3.0, "b": 1.0, "c": 0.0})
    left, parts = 1.0, []
    for share in shares.values():
        parts.append(left * share)
        left -= parts[-1]
    assert parts == pytest.approx([(1 / 3 + 3 / 4) / 2, (1 / 3 + 1 / 4) / 2, (1 / 3) / 2])
    assert search_shares(["a", "b"], {}) == {"a": 0.5, "b": 1.0}


def test_balanced_effort_shares_one_limit_and_fast_has_none():
    budget = Budget(None, 0, "balanced")
    first = budget.search_budget(0.5)
    assert first.seconds == BALANCED_SECONDS / 2
    first.spend(1.0)
    budget.settle(first)
    assert budget.search_budget(1.0).seconds == BALANCED_SECONDS - 1, "what one leaves goes to the next"
    assert not Budget("1h", 0, "fast").search_budget(1.0).affords(0.1)
