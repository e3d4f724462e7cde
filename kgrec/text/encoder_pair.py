"""The encoders of a recommender: one for texts of the graph, one for search queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from kgrec.config import EncoderSettings
from kgrec.errors import UsageError
from kgrec.text.base import NoText, TextEncoder
from kgrec.text.encoder import TransformersEncoder, encoder_of
from kgrec.text.hf_model import Use
from kgrec.text.static import StaticEncoder
from kgrec.text.tuned_weights import FineTunedWeights

NO_MODEL: Final = "none"
"""Name of the choice to encode no text."""


def with_model(settings: EncoderSettings | None, model: str | None) -> EncoderSettings | None:
    """Return settings with the model that was chosen for a graph; None for `model` or NO_MODEL keeps their own."""
    if model in (None, NO_MODEL):
        return settings
    return (settings or EncoderSettings()).model_copy(update={"model": model})


def model_of(choices: Mapping[str, Any]) -> str | None:
    """Return the model chosen for the texts of a graph by the choices of its run; None: that of the settings."""
    return (choices.get("text_model") or {}).get("name")


@dataclass(frozen=True)
class EncoderPair:
    """The encoder of texts and that of queries, loaded on first use.

    Attributes:
        given: an encoder object for both; None: load by `name`.
        name: the setting `encoder`, the model to load.
        fetch: download a model that is not on this machine.
        tuned: fine-tuned weights; None: the model's own.
        static: encode by means of token vectors, unless the setting decides.
        model: the model chosen for the texts of the graph instead of that of the settings, or NO_MODEL; None: none was.
    """

    given: TextEncoder | None
    name: EncoderSettings | None
    fetch: bool = True
    tuned: FineTunedWeights | None = None
    static: bool = False
    model: str | None = None

    @cached_property
    def text(self) -> TextEncoder:
        """The encoder of the texts of the graph."""
        return self._with_tuning(self.given or self._named("text"))

    @cached_property
    def query(self) -> TextEncoder:
        """The encoder of queries."""
        return self.text if self.given else self._with_tuning(self._named("query"))

    def _named(self, use: Use) -> TextEncoder:
        if self.model == NO_MODEL:
            return NoText()
        model = encoder_of(with_model(self.name, self.model), use, fetch=self.fetch)
        chosen = self.name and self.name.static
        return StaticEncoder(model) if (self.static if chosen is None else chosen) else model

    def _with_tuning(self, encoder: TextEncoder) -> TextEncoder:
        return tunable(encoder).with_tuning(self.tuned) if self.tuned else encoder


def tunable(encoder: TextEncoder) -> TransformersEncoder:
    """Return the encoder if it can be fine-tuned.

    Raises:
        UsageError: it is not a transformers model.
    """
    if not isinstance(encoder, TransformersEncoder):
        raise UsageError(f"found text encoder {encoder.name}; expected a transformers model, which can be fine-tuned")
    return encoder
