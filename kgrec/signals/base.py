"""Base class of signals, the models that score items for users, and of their settings."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from kgrec._util.array_layout import Layout
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import PLUGIN_NAME
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import SHARE_COLUMNS, Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import behaviors_differ, has_times
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.errors import NotFittedError, UsageError
from kgrec.signals.relevance import RelevantIf, several_domains

logger = logging.getLogger(__name__)

LARGEST_SETTING: Final = 1e6
"""Largest absolute value of a float setting; the search ranges stay far below it."""


@dataclass(frozen=True)
class LogRange:
    """Geometric search range of a numeric setting, searched step by step, up and down from its default.

    Attributes:
        factor: ratio of neighboring values.
        low, high: bounds of the range.
    """

    factor: float
    low: float
    high: float

    def neighbors_of(self, now: Any, *, up: bool) -> Iterator[Any]:
        """Yield the values above or below `now`, nearest first; integers stay integers. None counts as above `high`."""
        step = self.factor if up else 1 / self.factor
        value = self.high * (step if up else 1) if now is None else now * step
        while self.low <= value <= self.high:
            yield round(value) if isinstance(now, int) else float(f"{value:.3g}")
            value *= step


Grid = Mapping[str, tuple[Any, ...] | LogRange]
"""Setting → the values, or the range, to search on the validation split; the most important setting comes first."""


HalfLifeItems = Annotated[
    float | None,
    RelevantIf(has_times),
    Field(gt=0, description="Number of later items of a user after which an item counts half; none: no decay."),
]
OutOfDomainWeight = Annotated[
    float,
    RelevantIf(several_domains),
    Field(ge=0, le=1, description="Weight of items of other domains, for users with items in the domain."),
]
FeedbackWeight = Annotated[
    float,
    RelevantIf(behaviors_differ),
    Field(ge=0, description="Influence of the learned feedback weights of behaviors: 0 none, 1 full."),
]


class SignalSettings(BaseModel):
    """Settings of a signal: its hyper-parameters, each with a default.

    A value is a bool, a number, a text or None, so that a run folder can store it as JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _can_be_kept(cls, value: Any) -> Any:
        if not isinstance(value, bool | int | float | str | None):
            raise ValueError("expected true, false, a number, a text or none")
        if isinstance(value, float) and not abs(value) <= LARGEST_SETTING:
            raise ValueError(f"expected a number of at most {LARGEST_SETTING:,.0f} in size")
        return value


class Signal(ABC):
    """A model that scores every item for a user.

    A signal learns from the train snapshot alone. Scores are comparable within a user, not between users or signals.
    The same seed gives the same fit.
    """

    name: ClassVar[str]
    group: ClassVar[Group]
    Settings: ClassVar[type[SignalSettings]]
    grid: ClassVar[Grid] = {}
    inference_params: ClassVar[frozenset[str]] = frozenset()
    """Settings that change scores but not the learned parameters; the search tries them without a fit."""

    supports_cold_items: ClassVar[bool] = False
    """Whether the signal scores cold items, which have no interactions, by their text, attributes or relationships."""

    personalized: ClassVar[bool] = True
    """Whether scores differ between users."""

    tuning_order: ClassVar[int] = 100
    """Position in tuning: cheap signals have low numbers, and time that they leave goes to costlier ones."""

    note: str = ""
    """What was unusual in the fit, such as a simpler model that ranked better, for reports."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Check the class attributes of a signal.

        Raises:
            UsageError: the name or group is invalid, or `grid` or `inference_params` names an unknown setting.
        """
        super().__init_subclass__(**more)
        if faults := list(_declaration_faults(cls)):
            raise UsageError(f"signal {cls.__name__}: {'; '.join(faults)}")

    def __init__(self, settings: SignalSettings | None = None) -> None:
        self.settings: Any = settings or self.Settings()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Raise the error for a missing attribute.

            Raises:
                NotFittedError: the signal is not fitted.
                AttributeError: the signal is fitted.
            """
            if self.__dict__.keys() == {"settings"} and not name.startswith("__"):
                raise NotFittedError(f"signal {self.name!r}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Return whether the signal can be fitted on this data."""
        return True

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate seconds of a fit on two CPU cores; they bound the hyper-parameter search."""
        return 0.1 + train.interactions.nnz / 500_000

    @classmethod
    def low_fidelity(cls, settings: Any) -> Any | None:
        """Return settings with a fit about half as long, or None if there are none.

        Their metric must rank settings roughly as full fits do: the search skips the full fit of settings whose
        low-fidelity fit is no better than that of the best settings.
        """
        return None

    @classmethod
    def is_relevant(cls, setting: str, train: GraphSnapshot) -> bool:
        """Return whether a setting has an effect with this data; see `RelevantIf`."""
        conditions = [
            mark.condition for mark in cls.Settings.model_fields[setting].metadata if isinstance(mark, RelevantIf)
        ]
        return all(condition(train) for condition in conditions)

    @abstractmethod
    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Fit the signal on a train snapshot and return it.

        Args:
            train: the graph without validation and test interactions.
            vectors: label → text vectors of its nodes, float32 [nodes of the label, d].
            seed: seed of the fit; the same seed gives the same result.
        """

    def refitted(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Return a new signal of the same settings, fitted on `train`, whose scores a blend learned for this one suits.

        Args:
            train, vectors, seed: as for `fit`.
        """
        return type(self)(self.settings).fit(train, vectors, seed)

    @abstractmethod
    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return the scores of all items for users, float32 [n users, n_items]."""

    @abstractmethod
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the learned parameters as named arrays."""

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the layouts that the arrays of `state` may have: names, shapes and types.

        Arrays of a run folder are checked against them before `restore`. An empty result skips the check.
        """
        return ()

    @abstractmethod
    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned, with equal scores, and return it.

        Raises:
            ValueError: the arrays have the right layout but contradict each other or the graph.
        """

    @abstractmethod
    def fold_in(self, delta: GraphDelta) -> Self:
        """Return a signal of the same settings for an updated graph, without a fit.

        New users are scored by their interactions, new items by their relationships and texts; a signal that does not
        use these scores them 0. Without changes to the graph, scores are equal bit for bit.
        """

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray | None:
        """Return the scores of all items for anonymous users (not in the graph), by their histories.

        float32 [n users, n_items], on the scale of `scores`; no fit, so a call takes milliseconds. None if the signal
        cannot score anonymous users.
        """
        return None

    def text_scores(self, texts: Sequence[str], vectors: FloatArray) -> FloatArray | None:
        """Return the scores of all items for text queries, float32 [n texts, n_items]; None if the signal uses no text.

        Args:
            texts: the queries.
            vectors: float32 [n texts, d], the queries encoded by the encoder of the node texts.
        """
        return None

    def item_similarity(self, item_nums: IntArray) -> FloatArray | None:
        """Return the similarities of items to all items, float32 [n, n_items]; None if the signal defines none.

        By default the cosine of `item_vectors`; a signal with another similarity overrides this method.
        """
        return _cosines(self.item_vectors, item_nums)

    def user_similarity(self, user_nums: IntArray) -> FloatArray | None:
        """Return the similarities of users to all users, float32 [n, n_users]; None if the signal defines none."""
        return _cosines(self.user_vectors, user_nums)

    @property
    def described_users(self) -> BoolArray | None:
        """Mask of the users whom the signal can score without behaviors, bool [n_users]; None if there are none."""
        vectors = self.user_vectors
        return None if vectors is None else np.asarray(vectors.any(axis=1))

    @property
    def user_vectors(self) -> FloatArray | None:
        """Vectors of users, float32 [n_users, d], near for similar users; None if the signal has none."""
        return None

    @property
    def item_vectors(self) -> FloatArray | None:
        """Vectors of items, float32 [n_items, d], near for similar items; None if the signal has none."""
        return None


Signals = Mapping[str, Signal]
"""Name → signal."""


def fit_fresh(signals: Signals, train: GraphSnapshot, vectors: Vectors, seed: int) -> dict[str, Signal]:
    """Return new signals of the same settings, fitted on `train`; they keep nothing of the given ones."""
    return {name: type(signal)(signal.settings).fit(train, vectors, seed) for name, signal in signals.items()}


def refit(signals: Signals, train: GraphSnapshot, vectors: Vectors, seed: int) -> dict[str, Signal]:
    """Return new signals of the same settings, fitted on `train`, for the same blend; the given ones are unchanged."""
    fitted = {}
    for name, signal in signals.items():
        logger.info(f"fitting {name}")
        fitted[name] = signal.refitted(train, vectors, seed)
    return fitted


def _declaration_faults(cls: type[Signal]) -> Iterator[str]:
    """Yield the problems of the class attributes that a signal class declares."""
    if hasattr(cls, "name") and not (isinstance(cls.name, str) and re.fullmatch(PLUGIN_NAME, cls.name)):
        yield f"wrong name {cls.name!r}. Expected at most 40 lower-case letters, digits and _, starting with a letter"
    if hasattr(cls, "group") and cls.group not in SHARE_COLUMNS:
        yield f"unknown group {cls.group!r}. Expected one of {', '.join(SHARE_COLUMNS)}"
    if not hasattr(cls, "Settings"):
        return
    if not (isinstance(cls.Settings, type) and issubclass(cls.Settings, SignalSettings)):
        yield f"Settings is {cls.Settings!r}. Expected a subclass of SignalSettings"
        return
    unknown = sorted({*cls.grid, *cls.inference_params} - set(cls.Settings.model_fields))
    if unknown:
        yield f"grid or inference_params has {', '.join(unknown)}. Expected settings of {cls.Settings.__name__}"
    if needed := [name for name, field in cls.Settings.model_fields.items() if field.is_required()]:
        yield f"{cls.Settings.__name__} has no default for {', '.join(needed)}. Expected one for each setting"


def _cosines(vectors: FloatArray | None, nums: IntArray) -> FloatArray | None:
    """Return the cosines of n rows of `vectors` with all rows, float32 [n, rows]; None without vectors."""
    if vectors is None:
        return None
    vectors = np.asarray(vectors, dtype=np.float32)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit[nums] @ unit.T)
