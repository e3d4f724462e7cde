"""What every signal does before it is fitted."""

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
def test_signal_unfitted_says_so(kind: type[Signal], use: str) -> None:
    with pytest.raises(NotFittedError, match=f"signal {kind.name} is not fitted"):
        USES[use](kind())


def test_signal_unknown_attribute_is_not_called_unfitted() -> None:
    kind = signal_kinds(["ease"])[0]
    assert not hasattr(kind(), "_no_such_thing")
    with pytest.raises(AttributeError, match="EASE has no attribute '_no_such_thing'"):
        kind()._no_such_thing  # noqa: B018
