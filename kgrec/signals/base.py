"""The port every signal implements: what scores a (user, item)."""

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
from kgrec._util.types import FloatArray, IntArray
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
"""Size of a setting that is no whole number, at most; the search for settings stays far below."""


@dataclass(frozen=True)
class LogRange:
    """Values of a numeric setting that validation may climb to, step by step, up or down from its default.

    Attributes:
        factor: from one rung to the next.
        low, high: where the ladder ends.
    """

    factor: float
    low: float
    high: float

    def neighbors_of(self, now: Any, *, up: bool) -> Iterator[Any]:
        """Yield the rungs above or below a value, nearest first; whole numbers stay whole. None is above the top."""
        step = self.factor if up else 1 / self.factor
        value = self.high * (step if up else 1) if now is None else now * step
        while self.low <= value <= self.high:
            yield round(value) if isinstance(now, int) else float(f"{value:.3g}")
            value *= step


Grid = Mapping[str, tuple[Any, ...] | LogRange]
"""Setting → the values, or the ladder, that are tried on the validation cut; the setting that matters most first."""


HalfLifeItems = Annotated[
    float | None,
    RelevantIf(has_times),
    Field(gt=0, description="Latest items of a user after which an older one counts half; none: all alike."),
]
OutOfDomainWeight = Annotated[
    float,
    RelevantIf(several_domains),
    Field(ge=0, le=1, description="How much an item of another domain counts for users who have some of the domain."),
]
FeedbackWeight = Annotated[
    float,
    RelevantIf(behaviors_differ),
    Field(ge=0, description="How far a behavior counts for what it is worth: 0 all alike, 1 as learned."),
]


class SignalSettings(BaseModel):
    """Settings of a signal: constructor arguments that validation may choose. Each has a default.

    A setting is a truth value, a number, a text or None, so that a run can keep it.
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
    """Scores every item for a user.

    A signal sees the train snapshot alone. Scores of one user are comparable with one another, not with those of
    another user or signal. Fitting is repeatable by seed.
    """

    name: ClassVar[str]
    group: ClassVar[Group]
    Settings: ClassVar[type[SignalSettings]]
    grid: ClassVar[Grid] = {}
    inference_params: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how scores follow from what was learned, but not that: trying them needs no fit."""

    supports_cold_items: ClassVar[bool] = False
    """Whether an item that nobody chose can have a score of its own: by its text, attributes or relationships."""

    personalized: ClassVar[bool] = True
    """Whether scores differ from user to user."""

    tuning_order: ClassVar[int] = 100
    """Signals of a lower number are tuned first, so that time they leave goes to the costlier ones after them."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Check the declaration of a signal.

        Raises:
            UsageError: a bad name or group, or names in `grid` or `inference_params` that are no settings.
        """
        super().__init_subclass__(**more)
        if faults := list(_declaration_faults(cls)):
            raise UsageError(f"signal {cls.__name__}: {'; '.join(faults)}")

    def __init__(self, settings: SignalSettings | None = None) -> None:
        self.settings: Any = settings or self.Settings()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Raise the error for what is not there; before anything was learned, that is what fitting makes.

            Raises:
                NotFittedError: the signal was not fitted.
            """
            if self.__dict__.keys() == {"settings"} and not name.startswith("__"):
                raise NotFittedError(f"signal {self.name!r}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether the signal can work with this data."""
        return True

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return roughly how many seconds a fit takes on two ordinary cores; it bounds the search over settings."""
        return 0.1 + train.interactions.nnz / 500_000

    @classmethod
    def low_fidelity(cls, settings: Any) -> Any | None:
        """Return settings that take half as long to fit and do better or worse much as these do; None: there are none.

        With them the search finds out which settings are not worth a whole fit.
        """
        return None

    @classmethod
    def is_relevant(cls, setting: str, train: GraphSnapshot) -> bool:
        """Say whether a setting of the grid can change anything with this data; see `RelevantIf`."""
        conditions = [
            mark.condition for mark in cls.Settings.model_fields[setting].metadata if isinstance(mark, RelevantIf)
        ]
        return all(condition(train) for condition in conditions)

    @abstractmethod
    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Learn from a train snapshot.

        Args:
            train: the graph, without valid and test behaviors.
            vectors: label → float32 [nodes of the label, d] of text.
            seed: makes the result repeat.
        """

    @abstractmethod
    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return the scores of all items for users, float32 [n users, n_items]."""

    @abstractmethod
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return what was learned, as named arrays."""

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be; several layouts, of different names, where there is a choice.

        What a run folder holds is compared with it before `restore`; without any layout it is not.
        """
        return ()

    @abstractmethod
    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned; scores are equal afterwards.

        Raises:
            ValueError: arrays of the right layout contradict each other or the graph.
        """

    @abstractmethod
    def fold_in(self, delta: GraphDelta) -> Self:
        """Return a signal of the same settings for a graph that has grown; nothing is learned again.

        New users are scored by their behaviors, new items by what the graph and their texts say of them; where that
        is nothing to the signal, scores are 0. Where nothing was new, scores are equal to the bit.
        """

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray | None:
        """Return the scores of all items for people who are no users of the graph, by what they did.

        float32 [n users, n_items], comparable with `scores`; nothing is learned, so a call takes milliseconds. None
        from a signal that says nothing of them.
        """
        return None

    def text_scores(self, texts: Sequence[str], vectors: FloatArray) -> FloatArray | None:
        """Return how well every item fits texts, float32 [n texts, n_items]; None from a signal that reads no text.

        Args:
            texts: what somebody looks for, in their own words.
            vectors: float32 [n texts, d], the texts encoded as those of the nodes were.
        """
        return None

    def item_similarity(self, item_nums: IntArray) -> FloatArray | None:
        """Return how like each item all items are, float32 [n, n_items]; None from a signal that does not say.

        Here the cosine of `item_vectors`; a signal that relates items otherwise returns that.
        """
        return _cosines(self.item_vectors, item_nums)

    def user_similarity(self, user_nums: IntArray) -> FloatArray | None:
        """Return how like each user all users are, float32 [n, n_users]; None from a signal that does not say."""
        return _cosines(self.user_vectors, user_nums)

    @property
    def user_vectors(self) -> FloatArray | None:
        """Vectors of users, float32 [n_users, d], whose nearness means likeness; None if there are none."""
        return None

    @property
    def item_vectors(self) -> FloatArray | None:
        """Vectors of items, float32 [n_items, d], whose nearness means likeness; None if there are none."""
        return None


Signals = Mapping[str, Signal]
"""Name → signal."""


def refit(signals: Signals, train: GraphSnapshot, vectors: Vectors, seed: int) -> dict[str, Signal]:
    """Return new signals of the same settings that learned from `train`; the given ones stay as they are."""
    fitted = {}
    for name, signal in signals.items():
        logger.info(f"fitting {name}")
        fitted[name] = type(signal)(signal.settings).fit(train, vectors, seed)
    return fitted


def _declaration_faults(cls: type[Signal]) -> Iterator[str]:
    """Yield what is wrong with what a class of signals declares, as far as it declares it."""
    if hasattr(cls, "name") and not (isinstance(cls.name, str) and re.fullmatch(PLUGIN_NAME, cls.name)):
        yield f"name {cls.name!r}; expected lower-case letters, digits and _, 40 at most, a letter first"
    if hasattr(cls, "group") and cls.group not in SHARE_COLUMNS:
        yield f"group {cls.group!r}; expected one of {', '.join(SHARE_COLUMNS)}"
    if not hasattr(cls, "Settings"):
        return
    if not (isinstance(cls.Settings, type) and issubclass(cls.Settings, SignalSettings)):
        yield f"Settings is {cls.Settings!r}; expected a subclass of SignalSettings"
        return
    strange = sorted({*cls.grid, *cls.inference_params} - set(cls.Settings.model_fields))
    if strange:
        yield f"grid or inference_params has {', '.join(strange)}; expected settings of {cls.Settings.__name__}"
    if needed := [name for name, field in cls.Settings.model_fields.items() if field.is_required()]:
        yield f"{cls.Settings.__name__} has no default for {', '.join(needed)}; expected one for each setting"


def _cosines(vectors: FloatArray | None, nums: IntArray) -> FloatArray | None:
    """Return the cosines of some rows with all, float32 [n, rows]; None without vectors."""
    if vectors is None:
        return None
    vectors = np.asarray(vectors, dtype=np.float32)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit[nums] @ unit.T)
