"""Projection head on the vectors of a fine-tuned text model, which trains in a few minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch

from kgrec._util.array_layout import Array, check_arrays
from kgrec._util.types import FloatArray

PREFIX: Final = "vector_head."
"""Prefix of the names of its weights among those of the model."""
WHITENING_RIDGE: Final = 0.1
"""Ridge of the initial whitening, as a multiple of the mean variance of a dimension."""
HIDDEN_UNITS_PER_DIMENSION: Final = 2
"""Hidden units per dimension of a vector."""

Weights = Mapping[str, npt.NDArray[Any]]


class Head(torch.nn.Module):
    """A linear layer initialized as whitening, plus the output of a hidden layer; returns rows of length 1.

    Args:
        d: length of a vector.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.whiten = torch.nn.Linear(d, d)
        self.up, self.down = (
            torch.nn.Linear(d, HIDDEN_UNITS_PER_DIMENSION * d),
            torch.nn.Linear(HIDDEN_UNITS_PER_DIMENSION * d, d),
        )
        self.scale = d**0.5

    @classmethod
    def whitening(cls, vectors: FloatArray) -> Self:
        """Return the initial head, which only centers and whitens vectors [n, d].

        Vectors of a language model share large components, which hide their differences: Su et al., "Whitening
        Sentence Representations for Better Semantics and Faster Retrieval", 2021.
        """
        head, mean = cls(vectors.shape[1]), vectors.mean(axis=0, dtype=np.float64)
        variance, axes = np.linalg.eigh(np.cov(vectors, rowvar=False, ddof=0))
        matrix = (axes / np.sqrt(np.maximum(variance, 0) + WHITENING_RIDGE * max(float(variance.mean()), 1e-12))).T
        with torch.no_grad():
            head.whiten.weight.copy_(torch.as_tensor(matrix))
            head.whiten.bias.copy_(torch.as_tensor(-matrix @ mean))
            head.down.weight.zero_()
            head.down.bias.zero_()
        return head

    @classmethod
    def from_weights(cls, weights: Weights) -> Self:
        """Return a head with some weights, frozen."""
        head = cls(len(weights["whiten.bias"]))
        head.load_state_dict({name: torch.as_tensor(values) for name, values in weights.items()})
        return head.requires_grad_(False)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights by name, as `from_weights` takes them."""
        return {name: tensor.cpu().numpy() for name, tensor in self.state_dict().items()}

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return float32 [n, d], rows of length 1, for vectors [n, d]."""
        white = torch.nn.functional.normalize(self.whiten(vectors), dim=1)
        hidden = torch.nn.functional.gelu(self.up(white * self.scale))
        return torch.nn.functional.normalize(white + self.down(hidden), dim=1)


def merge_head(model: Weights, head: Weights) -> dict[str, npt.NDArray[Any]]:
    """Return the tuned weights of a model and of its head in one mapping."""
    return {**model, **{PREFIX + name: values for name, values in head.items()}}


def split_head(weights: Weights) -> tuple[Weights, Weights]:
    """Return the weights of the model and of its head: the inverse of `merge_head`; empty if there is no head."""
    head = {name.removeprefix(PREFIX): values for name, values in weights.items() if name.startswith(PREFIX)}
    return {name: values for name, values in weights.items() if not name.startswith(PREFIX)}, head


def check_head(weights: Weights) -> None:
    """Check that weights are those of a head.

    Raises:
        ValueError: names, a type or a shape differ.
    """
    d = len(weights.get("whiten.bias", ()))
    linear = {"whiten": (d, d), "up": (HIDDEN_UNITS_PER_DIMENSION * d, d), "down": (d, HIDDEN_UNITS_PER_DIMENSION * d)}
    layout = {f"{name}.weight": Array(shape) for name, shape in linear.items()}
    check_arrays(weights, [{**layout, **{f"{name}.bias": Array(shape[:1]) for name, shape in linear.items()}}])
