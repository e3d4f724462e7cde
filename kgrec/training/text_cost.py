"""Choice of the text encoder by the cost of encoding: the transformer, or means of its token vectors."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Final

from kgrec._util.duration import in_words, seconds_of
from kgrec.config import Config, Effort
from kgrec.data.snapshot import GraphSnapshot
from kgrec.text import encoded_texts
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.encoder_pair import EncoderPair
from kgrec.text.static import encoding_seconds

logger = logging.getLogger(__name__)

MAX_ENCODING_SECONDS: Final[Mapping[Effort, float]] = {"fast": 0.0, "balanced": 120.0, "best": math.inf}
"""Maximum nominal CPU seconds of encoding by the transformer, whose import and loading take several more."""
ENCODING_SHARE: Final = 0.25
"""Maximum share of encoding by the transformer in a time limit."""
SHORT_SECONDS: Final = 5.0
"""Encoding by the transformer that is worth it with any time limit: about as long as loading the model."""


def why_static(train: GraphSnapshot, encoders: EncoderPair, config: Config) -> str | None:
    """Return why texts are encoded as means of token vectors; None if the transformer encodes them.

    Encoders that were given as objects, fine-tuning and the setting `encoder.static` are not overruled, and a GPU
    encodes any catalog. The cost is estimated from the length of the texts, whatever the cache holds, so that the same
    data give the same model.

    Args:
        train: the graph that the final signals are fitted on.
        encoders: the encoders to choose for.
        config: settings.
    """
    limit = MAX_ENCODING_SECONDS[config.effort]
    if config.budget:
        limit = min(limit, max(ENCODING_SHARE * seconds_of(config.budget), SHORT_SECONDS))
    decided = encoders.given or config.tune or (config.encoder and config.encoder.static is not None)
    if decided or not math.isfinite(limit):
        return None
    model = encoders.text
    if not isinstance(model, TransformersEncoder) or model.device != "cpu":
        return None
    seconds = encoding_seconds(set().union(*encoded_texts(train, model).values()), model)
    if seconds <= limit:
        return None
    more = "a longer budget" if config.budget else "more effort"
    return (
        f"texts are means of token vectors: {model.name} takes about {in_words(seconds)}. With {more}, or "
        "encoder.static=false, it reads the order of words, which brings most for cold items"
    )
