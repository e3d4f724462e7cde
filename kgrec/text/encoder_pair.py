"""The encoders of a recommender: one for texts of the graph, one for search queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kgrec.config import EncoderSettings
from kgrec.errors import UsageError
from kgrec.text.base import TextEncoder
from kgrec.text.encoder import TransformersEncoder, encoder_of
from kgrec.text.hf_model import Use
from kgrec.text.static import StaticEncoder
from kgrec.text.tuned_weights import FineTunedWeights


@dataclass(frozen=True)
class EncoderPair:
    """The encoder of texts and that of queries, loaded on first use.

    Attributes:
        given: an encoder object for both; None: load by `name`.
        name: the setting `encoder`, the model to load.
        fetch: download a model that is not on this machine.
        tuned: fine-tuned weights; None: the model's own.
        static: encode by means of token vectors, unless the setting decides.
    """

    given: TextEncoder | None
    name: EncoderSettings | None
    fetch: bool = True
    tuned: FineTunedWeights | None = None
    static: bool = False

    @cached_property
    def text(self) -> TextEncoder:
        """The encoder of the texts of the graph."""
        return self._with_tuning(self.given or self._named("text"))

    @cached_property
    def query(self) -> TextEncoder:
        """The encoder of queries."""
        return self.text if self.given else self._with_tuning(self._named("query"))

    def _named(self, use: Use) -> TextEncoder:
        model = encoder_of(self.name, use, fetch=self.fetch)
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
