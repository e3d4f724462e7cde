"""Choice of the text model by the script of the texts: the English one, the multilingual one, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from kgrec.config import MULTILINGUAL_MODEL, PACKAGED_MODEL, Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.text import describe
from kgrec.text.encoder_pair import NO_MODEL, EncoderPair
from kgrec.text.multilingual import INSTALL, is_installed

UNREADABLE_SHARE: Final = 0.2
"""Letters of other scripts among those of item texts, from which on the English model reads too little of them."""
FOREIGN_SHARE: Final = 0.015
"""Letters beyond a to z, from which on texts are in another language: German has .017, English with its names .006."""
SAMPLE: Final = 2_000
"""Item texts that are looked at, evenly spaced."""

_NO_LETTERS: Final = re.compile(r"[\W\d_]+")
_ENGLISH: Final = re.compile(r"[A-Za-z]+")
_LATIN: Final = re.compile(r"[A-Za-z\u00aa-\u024f\u1e00-\u1eff\uff21-\uff5a]+")


def model_for_texts(train: GraphSnapshot, encoders: EncoderPair, config: Config) -> dict[str, str] | None:
    """Return the text model to use instead of the packaged English one; None to keep the model of the settings.

    Letters say which script a text is in, and the tokenizer of the English model knows few words of other scripts. A
    model that the settings name, and an encoder that was given as an object, are not overruled.

    Args:
        train: the training graph.
        encoders: the encoders to choose for.
        config: settings.

    Returns:
        "name": that of the multilingual model, or NO_MODEL where it is not installed and the English one cannot read
        the texts; "reason": a sentence.
    """
    if encoders.given or (config.encoder and config.encoder.model != PACKAGED_MODEL):
        return None
    foreign, unreadable = letter_shares(_item_texts(train))
    if is_installed() and (foreign >= FOREIGN_SHARE or unreadable >= UNREADABLE_SHARE):
        share = f"{foreign:.0%} of the letters of item texts are beyond a to z"
        return {"name": MULTILINGUAL_MODEL, "reason": f"texts are read by the multilingual model: {share}"}
    if unreadable < UNREADABLE_SHARE or config.tune:
        return None
    found = f"{PACKAGED_MODEL} cannot read the item texts, {unreadable:.0%} of whose letters are of other scripts"
    return {"name": NO_MODEL, "reason": f"no text model is used: {found}. Run: {INSTALL}"}


def letter_shares(texts: Iterable[str]) -> tuple[float, float]:
    """Return the shares of letters beyond a to z, and of letters of other scripts than the Latin one, in texts."""
    letters = _NO_LETTERS.sub("", " ".join(texts))
    n = max(1, len(letters))
    return len(_ENGLISH.sub("", letters)) / n, len(_LATIN.sub("", letters)) / n


def _item_texts(train: GraphSnapshot) -> Sequence[str]:
    labels = [x for x in train.present(train.schema.roles.items) if train.schema.nodes[x].text]
    texts = np.concatenate([np.empty(0, dtype=object), *(describe(train, label) for label in labels)])
    return list(texts[:: max(1, len(texts) // SAMPLE)])
