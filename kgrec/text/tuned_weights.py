"""Fine-tuned weights of a text model, and the model, schema and graph that they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kgrec.config import TuneMethod
from kgrec.data.schema import Schema
from kgrec.errors import UsageError


@dataclass(frozen=True)
class Origin:
    """Origin of fine-tuned weights.

    Attributes:
        method: method of fine-tuning; see `TuneSettings`.
        rank: of the updates, or tokens of the prefix.
        model: digest of the original model.
        schema_name, schema: name and digest of the schema, which defines the texts.
        learned_from: digest of the training graph.
    """

    method: TuneMethod
    rank: int
    model: str
    schema_name: str
    schema: str
    learned_from: str

    @property
    def prefix(self) -> int:
        """Number of tokens that a prefix takes from the model's limit."""
        return self.rank if self.method == "prefix" else 0


@dataclass(frozen=True)
class FineTunedWeights:
    """Fine-tuned weights.

    Attributes:
        origin: their model, schema and training graph.
        weights: name in the model → float32; low-rank updates, a prefix, or all weights, and those of the projection
            head.
        losses: (step, loss on held-out users) of each evaluation; step 0 is the original model, with the head if any.
    """

    origin: Origin
    weights: Mapping[str, npt.NDArray[Any]]
    losses: tuple[tuple[int, float], ...]

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the weights."""
        sha = hashlib.sha256(f"{self.origin.method} {self.origin.rank}".encode())
        for name in sorted(self.weights):
            sha.update(name.encode())
            sha.update(np.ascontiguousarray(self.weights[name]).tobytes())
        return sha.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields except the weights."""
        return {**asdict(self.origin), "losses": self.losses}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], weights: Mapping[str, npt.NDArray[Any]]) -> FineTunedWeights:
        """Return the object from the values of `to_dict` and the weights.

        Raises:
            ValueError: the weights are not those of a fine-tuned model.
        """
        origin = Origin(**{name: value for name, value in values.items() if name != "losses"})
        _check_weights(origin, weights)
        return cls(origin, weights, tuple((step, loss) for step, loss in values["losses"]))

    def check_model(self, name: str, digest: str) -> None:
        """Check that a model is the one that was fine-tuned.

        Args:
            name: display name of the model.
            digest: of its files.

        Raises:
            UsageError: it is another model.
        """
        if digest != self.origin.model:
            raise UsageError(
                f"found the text model {name}; expected the one that was fine-tuned: "
                "set `encoder` to it, or train again"
            )

    def check_schema(self, schema: Schema) -> None:
        """Check that a schema is the one that the model was fine-tuned with.

        Raises:
            UsageError: it is another schema.
        """
        if schema.digest != self.origin.schema:
            raise UsageError(
                f"found a graph of schema {schema.name!r}; expected {self.origin.schema_name!r} as it was when the "
                "text model was fine-tuned. Train again, or use the original model"
            )

    def applied(self, model: Any) -> Any:
        """Return a torch model with the fine-tuned weights, without the head; `model` is changed in place."""
        from kgrec.text.adapters import adapted, load_weights, merged
        from kgrec.text.projection_head import split_head

        module = adapted(model, self.origin.method, self.origin.rank)
        load_weights(module, split_head(self.weights)[0])
        return merged(module, self.origin.method)


def _check_weights(origin: Origin, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check types and rank of weights; `load_weights` checks that they fit the model."""
    from kgrec.text.projection_head import check_head, split_head

    if not weights or any(values.dtype != np.float32 for values in weights.values()):
        raise ValueError("no weights, or weights that are not float32; expected those of a fine-tuned model")
    if origin.method != "full" and origin.rank > max(max(values.shape, default=0) for values in weights.values()):
        raise ValueError(f"run.json gives the rank {origin.rank}, which none of the weights has")
    _, head = split_head(weights)
    if head:
        check_head(head)
