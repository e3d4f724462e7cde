"""Signals declare the attributes that the engine needs."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import pytest

from kgrec.config import SIGNALS
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import NotFittedError, UsageError
from kgrec.signals import shipped_with_similarity, signal_kinds, with_classes
from kgrec.signals.base import Signal, SignalSettings
from kgrec.signals.cf import EASE, IALS, Popularity
from kgrec.signals.relevance import RelevantIf


class WeightedSettings(SignalSettings):
    weight: Annotated[float, RelevantIf(lambda train: train.n_items > 1_000)] = 1.0
    power: float = 1.0


class Weighted(Popularity):
    name, Settings, grid = "weighted", WeightedSettings, {"weight": (2.0,), "power": (2.0,)}


def test_signal_order_follows_classes() -> None:
    names = [kind.name for kind in signal_kinds(reversed(SIGNALS.shipped))]
    assert (names[0], names[-1]) == ("popularity", "lightgcn")
    assert signal_kinds([EASE, "popularity", IALS, EASE]) == [Popularity, IALS, EASE]


def test_names_are_unique() -> None:
    assert {name: SIGNALS.load(name).name for name in SIGNALS.shipped} == {name: name for name in SIGNALS.shipped}


def test_signals_are_loaded_without_torch() -> None:
    code = "import sys; from kgrec.config import SIGNALS; from kgrec.signals import signal_kinds"
    code += "; signal_kinds(SIGNALS.shipped); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_class_that_is_not_a_signal_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected a subclass of kgrec.signals.base.Signal"):
        signal_kinds([SignalSettings])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="signal Signal lacks name, group, Settings, fit"):
        signal_kinds([Signal])


def test_with_classes_replaces_names() -> None:
    assert with_classes(["ease", "ials"], [IALS]) == ["ease", IALS]


def test_signals_with_similarity_are_declared() -> None:
    assert {"ials", "ease", "embeddings", "lightgcn"} <= set(shipped_with_similarity("item"))
    assert "popularity" not in shipped_with_similarity("item")


def test_setting_is_relevant_where_its_condition_holds(communities: GraphSnapshot) -> None:
    assert Weighted.is_relevant("power", communities)
    assert not Weighted.is_relevant("weight", communities)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e7])
def test_setting_that_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="at most 1,000,000 in size"):
        WeightedSettings(power=value)


def test_unfitted_signal_raises_not_fitted_error(communities: GraphSnapshot) -> None:
    with pytest.raises(NotFittedError, match="signal 'ease' is not fitted"):
        EASE().state()
    fitted = Popularity().fit(communities, {})
    with pytest.raises(AttributeError, match="'Popularity' object has no attribute 'scorse'"):
        fitted.scorse  # noqa: B018
    assert not hasattr(fitted, "scorse")
