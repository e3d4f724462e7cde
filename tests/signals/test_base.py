"""Behavior of unfitted signals."""

from collections.abc import Callable

import numpy as np
import pytest

from kgrec.config import Config
from kgrec.errors import NotFittedError
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signal

USES: dict[str, Callable[[Signal], object]] = {
    "scores": lambda signal: signal.scores(np.array([0])),
    "state": lambda signal: signal.state(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", signal_kinds(Config().signals), ids=lambda kind: kind.name)
def test_unfitted_signal_says_so(kind: type[Signal], use: str) -> None:
    with pytest.raises(NotFittedError, match=f"signal '{kind.name}' is not fitted"):
        USES[use](kind())
