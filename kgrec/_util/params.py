"""The parameter protocol of scikit-learn estimators (`get_params`, `set_params`), which `clone` needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from kgrec.errors import UsageError, near_matches


class Parameters(ABC):
    """An estimator whose constructor passes its arguments unchanged, by name, to `_configure`."""

    _params: dict[str, Any]

    @abstractmethod
    def _configure(self, params: dict[str, Any]) -> None:
        """Check and set parameters, and reset the estimator to the unfitted state.

        Raises:
            UsageError: a value is invalid.
        """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, by name.

        Args:
            deep: ignored, since no parameter is an estimator; required by scikit-learn.
        """
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, reset the estimator to the unfitted state, and return it.

        Raises:
            UsageError: a name is unknown or a value is invalid; nothing is changed.
        """
        for name in params:
            if name not in self._params:
                near = near_matches(name, self._params)
                raise UsageError(f"unknown parameter {name!r}{near}. Expected one of {', '.join(self._params)}")
        self._configure({**self._params, **params})
        return self
