"""Parameters of an estimator by name, as scikit-learn has them: `get_params`, `set_params`, and so `clone`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from kgrec.errors import UsageError, near_matches


class Parameters(ABC):
    """An estimator whose constructor passes its arguments, by name and as they are, to `_configure`."""

    _params: dict[str, Any]

    @abstractmethod
    def _configure(self, params: dict[str, Any]) -> None:
        """Check parameters and take them, as an estimator that is not fitted.

        Raises:
            UsageError: a bad value.
        """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, by name.

        Args:
            deep: has no effect, since no parameter is an estimator; scikit-learn passes it.
        """
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, and forget what was fitted with the old ones.

        Raises:
            UsageError: an unknown name, or a bad value; nothing is changed.
        """
        for name in params:
            if name not in self._params:
                near = near_matches(name, self._params)
                raise UsageError(f"unknown parameter {name!r}{near}. Expected one of {', '.join(self._params)}")
        self._configure({**self._params, **params})
        return self
