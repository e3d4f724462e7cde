"""The spectral filter fulfills the contract of signals."""

from __future__ import annotations

from kgrec.signals.graph.spectral_filter import Spectral
from kgrec.testing.signal_contract import SignalContract


class TestSpectral(SignalContract):
    signal = Spectral
