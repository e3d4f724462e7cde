"""How sure a difference is: bootstrap intervals over users, and a paired test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kgrec._util.types import DoubleArray
from kgrec.errors import UsageError


@dataclass(frozen=True)
class PairedTest:
    """How much better one model is than another for the same users.

    Attributes:
        difference: mean of first minus second.
        low, high: its 95 % interval by user bootstrap.
        p_value: chance of a difference at least as large, either way, if the two models were alike.
        n_users: how many users both were measured on.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_users: int


def bootstrap_interval(
    values: npt.NDArray[Any], level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the interval that holds the mean with probability `level`: percentile bootstrap over users (Efron 1979).

    Args:
        values: float [n], one a user; NaN is left out.
        level: 0 … 1.
        samples: how many times users are drawn with replacement.
        seed: makes the result repeat.

    Raises:
        UsageError: no value.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        raise UsageError("found no user to draw from; expected at least one value that is not NaN")
    low, high = bootstrap_intervals(values[:, None], level, samples, seed)[0]
    return float(low), float(high)


def bootstrap_intervals(
    values: npt.NDArray[np.floating], level: float = 0.95, samples: int = 1000, seed: int = 0
) -> DoubleArray:
    """Return the intervals of many means over the same users, low and high, float64 [m, 2]; see `bootstrap_interval`.

    Args:
        values: float [n, m], no NaN.
        level, samples, seed: as there; all means are of the same draws.
    """
    values, n, rng = np.asarray(values, dtype=np.float64), len(values), np.random.default_rng(seed)
    times = (np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64) for _ in range(samples))
    means = np.stack([drawn @ values for drawn in times]) / n
    return np.asarray(np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T)


def paired_test(a: npt.NDArray[Any], b: npt.NDArray[Any], seed: int = 0, samples: int = 10_000) -> PairedTest:
    """Compare two models user by user: Fisher's randomization test, as in Smucker, Allan & Carterette (CIKM 2007).

    If the models were alike, which of them gave which of a user's two values would be chance: the p value is the share
    of random swaps with a difference at least as large.

    Args:
        a, b: float [n], one metric of the same users; a user with NaN in either is left out.
        seed: makes the result repeat.
        samples: number of random swaps.

    Raises:
        UsageError: different numbers of users, or no user measured on both.
    """
    if np.shape(a) != np.shape(b):
        raise UsageError(f"found {np.shape(a)} and {np.shape(b)} values; expected one of each model for every user")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    difference, rng = difference[~np.isnan(difference)], np.random.default_rng(seed)
    low, high = bootstrap_interval(difference, seed=seed)
    total, n = difference.sum(), len(difference)
    swapped = np.array([total - 2 * difference[rng.random(n) < 0.5].sum() for _ in range(samples)])
    # Sums of the same numbers in another order differ in the last digits.
    n_as_large = (np.abs(swapped) >= abs(total) - 1e-9 * n).sum()
    return PairedTest(float(total / n), low, high, float((n_as_large + 1) / (samples + 1)), n)


def clearly_better(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Say whether one of two is better by more than twice the standard error of the users' differences, [n] each."""
    gain = one - other
    return bool(gain.mean() > 2 * gain.std() / np.sqrt(len(gain)))
