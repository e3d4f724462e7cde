"""A budget bounds the search: by nominal cost, which is reproducible, or by the clock, without overrunning it."""

import time

import pytest

from kgrec._util.duration import seconds_of
from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.tuning.budget import BASE_SECONDS, Budget, SearchBudget


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
