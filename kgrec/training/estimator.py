"""Estimator: the scikit-learn interface of a recommender, with its parameters, fitted state and representation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from kgrec._util import html
from kgrec._util.params import Parameters
from kgrec._util.types import FloatArray
from kgrec.config import Config, Effort, EncoderSettings, Noise, RerankSettings, TuneSettings
from kgrec.data.noise import without_noise
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split
from kgrec.errors import NotFittedError
from kgrec.hybrid.model import HybridModel
from kgrec.text import (
    FineTunedWeights,
    TextEncoder,
    TransformersEncoder,
    VectorCache,
    text_vectors,
)
from kgrec.text.encoder_pair import EncoderPair, tunable, with_model
from kgrec.training.fold_in import KnownTexts
from kgrec.training.pipeline import FitOn, Trained, training_sets
from kgrec.training.report import FitReport
from kgrec.training.text_cost import why_static
from kgrec.training.text_language import model_for_texts

logger = logging.getLogger(__name__)


class Estimator(Parameters):
    """An estimator with settings by name and a fitted state.

    Attributes:
        config: the settings.
    """

    config: Config
    _state: Trained | None
    _cache: VectorCache
    _encoders: EncoderPair
    _known: KnownTexts | None

    def __init__(
        self,
        config: Config | None = None,
        *,
        signals: Sequence[Any] | str | None = None,
        models: Mapping[str, Mapping[str, Any]] | None = None,
        metric: str | None = None,
        encoder: TextEncoder | EncoderSettings | Mapping[str, Any] | str | None = None,
        tune: TuneSettings | Mapping[str, Any] | str | None = None,
        rerank: RerankSettings | Mapping[str, Any] | str | None = None,
        effort: Effort | None = None,
        budget: str | None = None,
        valid_fraction: float | None = None,
        noise: Noise | None = None,
        seed: int | None = None,
        fetch: bool = True,
    ) -> None:
        """Make an unfitted recommender; `Config` describes each setting and its default.

        Args:
            config: all settings in one object.
            encoder: the setting of that name, or a `TextEncoder` object to use instead.
            signals, models, metric, tune, rerank, effort, budget, valid_fraction, noise, seed: settings that override
                `config`; None leaves the value of `config`.
            fetch: whether a text model that is not on this machine may be downloaded; a model named by a run never is.

        Raises:
            UsageError: a setting has a bad value; the error lists all of them.
        """
        self._configure({name: value for name, value in locals().items() if name != "self"})

    def _configure(self, params: dict[str, Any]) -> None:
        config, encoder = params["config"], params["encoder"]
        is_setting = encoder is None or isinstance(encoder, EncoderSettings | Mapping | str)
        settings = {name: params[name] for name in Config.model_fields if params[name] is not None}
        settings = settings if is_setting else {name: value for name, value in settings.items() if name != "encoder"}
        base = config.model_dump(exclude_defaults=True) if config else {}
        self.config = Config.checked({**base, **settings})
        self._params = params
        self._cache, self._known, self._state = VectorCache(), None, None
        self._encoders = EncoderPair(None if is_setting else encoder, self.config.encoder, params["fetch"])

    @property
    def _trained(self) -> Trained:
        """The fitted state.

        Raises:
            NotFittedError: the recommender is not fitted.
        """
        if self._state is None:
            raise NotFittedError
        return self._state

    @property
    def _model(self) -> HybridModel:
        """The fitted hybrid model."""
        return self._trained.model

    @property
    def report_(self) -> FitReport:
        """Report of the fit: the size of the data, the chosen settings with all tried ones, and the duration.

        Raises:
            NotFittedError: the recommender is not fitted.
        """
        train = self._model.train
        counts = train.n_users, train.n_items, len(train.behaviors)
        return FitReport(*counts, self.config.metric, self._trained.choices, self._trained.seconds)

    @property
    def _encoder(self) -> TextEncoder:
        """The text encoder, fine-tuned if `tune` is set: the constructor's, else that of the settings."""
        return self._encoders.text

    @property
    def _known_texts(self) -> KnownTexts:
        """The embeddings of the texts that the fit encoded."""
        if self._known is None:
            self._known = KnownTexts(self._trained, self._cache, self._encoders)
        return self._known

    def _like(self) -> Self:
        """Return an unfitted recommender with the same settings, encoders and fine-tuned weights."""
        other = type(self)(**self._params)
        other._encoders = self._encoders
        return other

    def _cleaned(self, graph: GraphSnapshot) -> GraphSnapshot:
        return without_noise(graph, self.config.noise)

    def _use(self, tuned: FineTunedWeights | None) -> None:
        """Encode with fine-tuned weights from now on, or with the model's own if None."""
        self._encoders = replace(self._encoders, tuned=tuned)

    def _choose_model(self, train: GraphSnapshot) -> dict[str, Any]:
        """Encode with the model that reads the texts of a graph from now on; return this as `Trained.choices`."""
        self._encoders = replace(self._encoders, model=None)
        chosen = model_for_texts(train, self._encoders, self.config)
        if chosen is None:
            return {}
        self._encoders = replace(self._encoders, model=chosen["name"])
        logger.warning(chosen["reason"])
        return {"text_model": chosen}

    def _choose_encoder(self, train: GraphSnapshot) -> dict[str, Any]:
        """Encode with the transformer from now on, or as means of token vectors; return this as `Trained.choices`."""
        self._encoders = replace(self._encoders, static=False)
        reason = why_static(train, self._encoders, self.config)
        self._encoders = replace(self._encoders, static=reason is not None)
        if reason is None:
            return {}
        logger.warning(reason)
        return {"static_text": True, "skipped": {"text model": reason}}

    def _encode(self, snapshot: GraphSnapshot) -> Mapping[str, FloatArray]:
        return text_vectors(snapshot, self._encoder, self._cache)

    def _fine_tuned(self, settings: TuneSettings, split: Split, fit_on: FitOn) -> FineTunedWeights:
        """Return weights fine-tuned without the validation interactions, so that choices on them are unbiased."""
        from kgrec.text.finetune.contrastive import fine_tune

        tuning_graph = training_sets(split, self.config, fit_on).tuning_graph
        return fine_tune(tuning_graph, tunable(self._encoder), self._cache, settings, self.config.seed)

    def _reader(self) -> TransformersEncoder | None:
        """Return the text model of the second stage; None without re-ranking."""
        if self.config.rerank is None:
            return None
        from kgrec.text.finetune.cross_encoder import body_of

        settings = with_model(self.config.encoder, self._encoders.model)
        config = self.config.model_copy(update={"encoder": settings})
        return body_of(config, self._encoders.given, fetch=self._encoders.fetch)

    def __repr__(self) -> str:
        settings = self.config.model_dump(exclude_defaults=True)
        shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}({shown}), {self.report_.sentence() if self._state else 'not fitted'}"

    def _repr_html_(self) -> str:
        return html.title(repr(self)) + (html.facts(self.report_.summary()) if self._state else "")
