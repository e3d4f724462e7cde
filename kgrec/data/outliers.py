"""Robust outlier detection, and a check whether times are epoch seconds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgrec._util.types import BoolArray
from kgrec.data.edges import Behaviors

OUTLIER_DEVIATIONS: Final = 6.0
"""Robust deviations from the median, on a logarithmic scale, beyond which a value is an outlier."""
MIN_DEVIATION: Final = 0.5
"""Lower bound of the robust deviation: an outlier is at least e^(6 · 0.5) = 20 times the median."""
MIN_CLOCK_SECONDS: Final = 1e8
"""Minimum median time at which times are taken for epoch seconds; smaller ones are an order."""


def robust_deviation(values: npt.NDArray[Any], center: float) -> float:
    """Return the median absolute deviation of values [n] from a center, scaled to a normal standard deviation.

    Leys et al., J. Exp. Soc. Psychol. 2013.
    """
    return float(1.4826 * np.median(np.abs(values - center)))


def far_above(values: npt.NDArray[Any]) -> BoolArray:
    """Mark the values [n] that are far above the median of the positive values, on a logarithmic scale."""
    if not values.any():
        return np.zeros(len(values), dtype=bool)
    given = np.log(values[values > 0])
    deviation = max(robust_deviation(given, np.median(given)), MIN_DEVIATION)
    return np.asarray(values > np.exp(np.median(given) + OUTLIER_DEVIATIONS * deviation))


def has_clock(behaviors: Behaviors, resolution: int = 1) -> bool:
    """Return whether times are epoch seconds and, if `resolution` > 1, not all multiples of `resolution` seconds."""
    time = behaviors.time[np.isfinite(behaviors.time)]
    coarse = resolution > 1 and not (time % resolution).any()
    return bool(len(time)) and bool(np.median(time) >= MIN_CLOCK_SECONDS) and not coarse
