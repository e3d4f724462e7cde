"""What fine-tuning made of a text model: weights that go with a model and a schema."""

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
    """Where tuned weights come from.

    Attributes:
        method: what was learned; see `TuneSettings`.
        rank: of the updates, or tokens of the prefix.
        model: digest of the model that was tuned.
        schema_name, schema: name and digest of the schema whose texts it was tuned on.
        learned_from: digest of the graph whose behaviors it was tuned on.
    """

    method: TuneMethod
    rank: int
    model: str
    schema_name: str
    schema: str
    learned_from: str

    @property
    def prefix(self) -> int:
        """Tokens of the model's limit that a prefix takes."""
        return self.rank if self.method == "prefix" else 0


@dataclass(frozen=True)
class FineTunedWeights:
    """Tuned weights.

    Attributes:
        origin: where they come from.
        weights: name in the model → float32; low-rank updates, a prefix, or all weights, and those of the head that
            vectors go through.
        losses: step → loss on held-out users, [looks]; step 0 is the model as it was, with that head if it has one.
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
        """Return everything but the weights."""
        return {**asdict(self.origin), "losses": self.losses}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], weights: Mapping[str, npt.NDArray[Any]]) -> FineTunedWeights:
        """Take back what `to_dict` returned, and the weights.

        Raises:
            ValueError: the weights are not those of a tuned model.
        """
        origin = Origin(**{name: value for name, value in values.items() if name != "losses"})
        _check_weights(origin, weights)
        return cls(origin, weights, tuple((step, loss) for step, loss in values["losses"]))

    def check_model(self, name: str, digest: str) -> None:
        """Compare a model with the one that was tuned.

        Args:
            name: of the model, for people.
            digest: of its files.

        Raises:
            UsageError: it is another.
        """
        if digest != self.origin.model:
            raise UsageError(
                f"found the text model {name}; expected the one that was fine-tuned, which is another: "
                "name it with the setting `encoder`, or train again"
            )

    def check_schema(self, schema: Schema) -> None:
        """Compare a schema with the one whose texts the model was tuned on.

        Raises:
            UsageError: it is another.
        """
        if schema.digest != self.origin.schema:
            raise UsageError(
                f"found a graph of schema {schema.name!r}; expected {self.origin.schema_name!r} as it was when the "
                "text model was fine-tuned on its texts: train again, or use the model as it is"
            )

    def applied(self, model: Any) -> Any:
        """Return a torch model with its tuned weights in it; `model` is changed; see `kgrec.text.projection_head`."""
        from kgrec.text.adapters import adapted, load_weights, merged
        from kgrec.text.projection_head import parted

        module = adapted(model, self.origin.method, self.origin.rank)
        load_weights(module, parted(self.weights)[0])
        return merged(module, self.origin.method)


def _check_weights(origin: Origin, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """See that weights can be of a model; that they are of the one that was tuned shows when they are put in."""
    from kgrec.text.projection_head import check_head, parted

    if not weights or any(values.dtype != np.float32 for values in weights.values()):
        raise ValueError("weights that are none, or not float32; expected those of a tuned model")
    if origin.method != "full" and origin.rank > max(max(values.shape, default=0) for values in weights.values()):
        raise ValueError(f"run.json gives the rank {origin.rank}, which none of the weights has")
    _, head = parted(weights)
    if head:
        check_head(head)
