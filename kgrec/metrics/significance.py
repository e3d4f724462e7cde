"""Statistical significance: bootstrap confidence intervals over users, and a paired test of two models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgrec._util.types import DoubleArray
from kgrec.errors import UsageError

SAMPLED_VALUES: Final = 1_000_000
"""Values of random samples that are held at a time (8 MB)."""


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two models on the same users.

    Attributes:
        difference: mean metric of the first model minus that of the second.
        low, high: 95 % confidence interval of the difference, by bootstrap over users.
        p_value: two-sided p-value of the null hypothesis that the models are equally good.
        n_users: number of users on which both models were measured.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_users: int


def bootstrap_interval(
    values: npt.NDArray[Any], level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the confidence interval of a mean, (low, high), by percentile bootstrap over users (Efron 1979).

    Args:
        values: float [n], one for each user; NaN is left out.
        level: confidence level, 0 … 1.
        samples: number of bootstrap samples of the users.
        seed: seed of the samples; the same seed gives the same interval.

    Raises:
        UsageError: all values are NaN, or there are none.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        raise UsageError("no user has a value. Expected at least one value that is not NaN")
    low, high = bootstrap_intervals(values[:, None], level, samples, seed)[0]
    return float(low), float(high)


def bootstrap_intervals(
    values: npt.NDArray[np.floating], level: float = 0.95, samples: int = 1000, seed: int = 0
) -> DoubleArray:
    """Return the confidence intervals of m means over the same users, low and high, float64 [m, 2].

    Args:
        values: float [n, m], without NaN.
        level, samples, seed: see `bootstrap_interval`; all means use the same bootstrap samples.
    """
    values, n, rng = np.asarray(values, dtype=np.float64), len(values), np.random.default_rng(seed)
    times = (np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64) for _ in range(samples))
    means = np.stack([drawn @ values for drawn in times]) / n
    return np.asarray(np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T)


def paired_test(a: npt.NDArray[Any], b: npt.NDArray[Any], seed: int = 0, samples: int = 10_000) -> PairedTest:
    """Return the result of Fisher's randomization test for two models (Smucker, Allan & Carterette, CIKM 2007).

    Under the null hypothesis the two values of a user are exchangeable. Each sample swaps them for random users; the
    p-value is the share of samples with a difference of the means at least as large as the observed one.

    Args:
        a, b: float [n], one metric of both models for the same users; a user with NaN in either is left out.
        seed: seed of the samples; the same seed gives the same result.
        samples: number of random samples.

    Raises:
        UsageError: the numbers of users differ, or no user was measured on both models.
    """
    if np.shape(a) != np.shape(b):
        raise UsageError(
            f"values of two models differ in shape: {np.shape(a)} and {np.shape(b)}. Expected one of each for each user"
        )
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return paired_tests(difference[~np.isnan(difference), None], seed, samples)[0]


def paired_tests(differences: npt.NDArray[np.floating], seed: int = 0, samples: int = 10_000) -> list[PairedTest]:
    """Return the results of `paired_test` for m pairs of models on the same users, which share the random samples.

    Args:
        differences: float [n, m], difference of two models' metric for each user, without NaN.
        seed, samples: see `paired_test`.
    """
    differences, rng = np.asarray(differences, dtype=np.float64), np.random.default_rng(seed)
    bounds, n, total = bootstrap_intervals(differences, seed=seed), len(differences), differences.sum(axis=0)
    size = max(1, SAMPLED_VALUES // n)
    n_as_large = np.zeros(len(total))
    for first in range(0, samples, size):
        swaps = (rng.random((min(size, samples - first), n)) < 0.5).astype(np.float64)
        # The tolerance covers rounding: sums of the same numbers in another order differ in the last digits.
        n_as_large += (np.abs(total - 2 * swaps @ differences) >= np.abs(total) - 1e-9 * n).sum(axis=0)
    p_values = (n_as_large + 1) / (samples + 1)
    return [
        PairedTest(float(mean), float(low), float(high), float(p_value), n)
        for mean, (low, high), p_value in zip(total / n, bounds, p_values, strict=True)
    ]


def clearly_better(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Return whether `one` exceeds `other` by more than two standard errors of the users' mean difference.

    Args:
        one, other: float [n], one metric of two models for the same users.
    """
    gain = one - other
    return bool(gain.mean() > 2 * gain.std() / np.sqrt(len(gain)))
