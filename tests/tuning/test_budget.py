"""A budget bounds the search: by nominal cost, which is reproducible, or by the clock, without overrunning it."""

import time

import pytest

from kgrec._util.duration import seconds_of
from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.tuning.budget import BASE_SECONDS, Budget, SearchBudget


@pytest.mark.parametrize(("budget", "seconds"), [("90s", 90), ("2min", 120), ("1.5h", 5400), (" 1 h ", 3600)])
def test_durations(budget, seconds):
    assert seconds_of(budget) == seconds


@pytest.mark.parametrize("budget", ["", "2", "0min", "-1h", "soon", "2 min 3 s"])
def test_what_is_no_duration_is_an_error_that_says_what_is(budget):
    with pytest.raises(UsageError, match="such as 90s, 2min or 1h"):
        Config.checked({"budget": budget})


def test_without_a_budget_the_size_of_the_data_decides_and_not_the_clock():
    small, large = (Budget(None, n).search_budget(3) for n in (0, 1_000_000))
    assert small.affords(BASE_SECONDS)
    assert not small.affords(BASE_SECONDS + 1)
    assert large.affords(180)
    large.spend(250)
    assert not large.affords(250)


def test_a_fit_that_would_end_too_late_is_not_started():
    search_budget = SearchBudget(0.2, by_clock=True)
    time.sleep(0.11)
    search_budget.spend(0)
    assert not search_budget.affords(0), "0.11 s are spent and the next would take as long"


def test_time_is_shared_and_some_kept_for_the_last_fits():
    budget = Budget("100s", 0)
    assert budget.search_budget(4).seconds == pytest.approx(25, abs=1)
    budget.reserve(60)
    assert budget.search_budget(1).seconds == pytest.approx(40, abs=1)
    budget.reserve(60)
    assert budget.search_budget(1).seconds == 0
