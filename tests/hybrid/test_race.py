"""A race finds the signals that a blend needs, and what each of them brings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.hybrid.race import race
from kgrec.tuning.validation import ValidationSet

N_USERS, N_ITEMS = 300, 60
RNG = np.random.default_rng(0)
CHOSEN = RNG.integers(N_ITEMS, size=(N_USERS, 2))
PARTS = RNG.random((2, N_USERS, N_ITEMS)).astype(np.float32)
"""Two independent halves of the reason of a choice."""


def matrix(columns: Any) -> sp.csr_matrix:
    rows = np.repeat(np.arange(N_USERS), columns.shape[1])
    return sp.csr_matrix((np.ones(columns.size, np.float32), (rows, columns.ravel())), shape=(N_USERS, N_ITEMS))


def holdouts(relevant: Any) -> list[ValidationSet]:
    users, items = np.arange(N_USERS), np.arange(N_ITEMS)
    seen = matrix(RNG.integers(N_ITEMS, size=(N_USERS, 3)))
    seen = sp.csr_matrix(seen - seen.multiply(relevant > 0))
    seen.eliminate_zeros()
    return [ValidationSet("films", users, np.ones(N_USERS), items, relevant, seen)]


def signals(**scores: Any) -> Any:
    groups = {"noise_a": "graph", "noise_b": "graph"}
    return {
        name: SimpleNamespace(scores=lambda users, of=of: of[users], group=groups.get(name, "cf"))
        for name, of in scores.items()
    }


def by_reason(reason: Any) -> sp.csr_matrix:
    return matrix(np.argsort(-reason, axis=1)[:, :2])


def of_seed(seed: int) -> Any:
    return np.random.default_rng(seed).random((N_USERS, N_ITEMS)).astype(np.float32)


@pytest.fixture
def train() -> Any:
    return SimpleNamespace(interactions=matrix(CHOSEN))


def test_race_finds_needed_signals_and_noise(train: Any) -> None:
    relevant = by_reason(PARTS.sum(axis=0))
    of = signals(first=PARTS[0], second=PARTS[1], noise_a=of_seed(1), noise_b=of_seed(2))
    result = race(of, holdouts(relevant), train, 0)
    found = result.report["films"]
    assert {"first", "second"} <= set(found["worth"])
    assert len(found["worth"]) == 3, "the last signal of a group stays"
    assert min(found["worth"][name] for name in ("first", "second")) > 0.1
    assert set(found["left_out"]) == set(of) - set(found["worth"])
    assert max(result.worth[name] for name in found["left_out"]) < 0.1 * result.worth["first"]


def test_race_without_a_reason_finds_no_worth(train: Any) -> None:
    """Shuffled choices: no signal brings anything, so nearly all are left out."""
    relevant = by_reason(of_seed(7))
    of = signals(first=PARTS[0], second=PARTS[1], third=of_seed(3), noise_a=of_seed(1), noise_b=of_seed(2))
    result = race(of, holdouts(relevant), train, 0)
    assert max(result.report["films"]["worth"].values()) < 0.05
    assert len(result.report["films"]["left_out"]) >= 2


def test_race_repeats_with_its_seed(train: Any) -> None:
    relevant = by_reason(PARTS.sum(axis=0))
    of, validation = signals(first=PARTS[0], second=PARTS[1], third=of_seed(3)), holdouts(relevant)
    assert race(of, validation, train, 1) == race(of, validation, train, 1)


def test_race_without_enough_users_measures_nothing(train: Any) -> None:
    few = [holdout.take(np.arange(10)) for holdout in holdouts(by_reason(PARTS[0]))]
    of = signals(first=PARTS[0], second=PARTS[1])
    result = race(of, few, train, 0)
    assert result.worth == {"first": 0, "second": 0}
    assert not result.report
