"""A random walk of three steps, from a user to an item, to another user, to an item: P3alpha."""

from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from sklearn.preprocessing import normalize

from kgrec._util.array_layout import Array
from kgrec.signals.base import Signal, SignalSettings


class RandomWalkSettings(SignalSettings):
    """Settings of the random walk."""

    alpha: float = Field(1.0, gt=0, description="Exponent of the probability of a step.")


class RandomWalk(Signal):
    """Probability that a random walk from a user ends at an item (Cooper et al., WWW 2014)."""

    name, group, Settings = "random_walk", "cf", RandomWalkSettings
    grid: ClassVar = {"alpha": (0.5, 1.5)}

    def fit(self, train: Any, vectors: Any, seed: int = 0) -> Self:
        """Compute the probability of a walk from each item to each item."""
        to_items = normalize(train.interactions, "l1").power(self.settings.alpha)
        to_users = normalize(train.interactions.T, "l1").power(self.settings.alpha)
        return self._learned(train, (to_users @ to_items).toarray())

    def scores(self, user_nums: Any) -> Any:
        """Return the probability that walks from users end at each item, float32 [n users, n_items]."""
        return self._history[user_nums] @ self._steps

    def anonymous_scores(self, users: Any) -> Any:
        """Return the scores of all items for anonymous users, by their histories."""
        return normalize(users.interactions, "l1") @ self._steps

    def state(self) -> Any:
        """Return the probabilities."""
        return {"steps": self._steps}

    def layouts(self, train: Any, vectors: Any) -> Any:
        """Return the expected arrays of `state`: shapes and types."""
        return ({"steps": Array((train.n_items, train.n_items))},)

    def restore(self, train: Any, vectors: Any, state: Any) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._learned(train, state["steps"])

    def fold_in(self, delta: Any) -> Self:
        """Return the signal for an updated graph, without a fit: new users get scores, new items have the score 0."""
        old, is_old = delta.items, delta.items >= 0
        steps = np.zeros((delta.new.n_items, delta.new.n_items))
        steps[np.ix_(is_old, is_old)] = self._steps[np.ix_(old[is_old], old[is_old])]
        return type(self)(self.settings)._learned(delta.new, steps)

    def _learned(self, train: Any, steps: Any) -> Self:
        self._history, self._steps = normalize(train.interactions, "l1"), steps.astype(np.float32)
        return self
