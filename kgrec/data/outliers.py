"""Outliers: what lies far from the median of the others, and whether times are those of a clock."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgrec._util.types import BoolArray
from kgrec.data.edges import Behaviors

OUTLIER_DEVIATIONS: Final = 6.0
"""Deviations from the median, on a logarithmic scale, beyond which a value is an outlier."""
MIN_DEVIATION: Final = 0.5
"""Where values are nearly alike, one is an outlier only from e^(6 · 0.5) = 20 times the median on."""
MIN_CLOCK_SECONDS: Final = 1e8
"""Median time from which times are seconds since 1970, and not an order."""


def robust_deviation(values: npt.NDArray[Any], center: float) -> float:
    """Return the median absolute deviation of values [n] from a center, scaled to the deviation of a normal law.

    Leys et al., J. Exp. Soc. Psychol. 2013.
    """
    return float(1.4826 * np.median(np.abs(values - center)))


def far_above(values: npt.NDArray[Any]) -> BoolArray:
    """Mark the values [n] that are far above the median of those above 0, on a logarithmic scale."""
    if not values.any():
        return np.zeros(len(values), dtype=bool)
    given = np.log(values[values > 0])
    deviation = max(robust_deviation(given, np.median(given)), MIN_DEVIATION)
    return np.asarray(values > np.exp(np.median(given) + OUTLIER_DEVIATIONS * deviation))


def has_clock(behaviors: Behaviors, resolution: int = 1) -> bool:
    """Say whether times are seconds since 1970, and not all multiples of `resolution` seconds where that is above 1."""
    time = behaviors.time[np.isfinite(behaviors.time)]
    coarse = resolution > 1 and not (time % resolution).any()
    return bool(len(time)) and bool(np.median(time) >= MIN_CLOCK_SECONDS) and not coarse
