"""Settings of a recommender: the one place where their defaults are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from kgrec._util.safe_yaml import described, read_text, read_yaml
from kgrec._util.secrets import holds_password
from kgrec.errors import UsageError
from kgrec.tuning.budget import seconds_of

SignalName = Literal[
    "popularity",
    "item_knn",
    "item_transitions",
    "spectral",
    "ials",
    "ease",
    "user_ease",
    "cross_domain_ae",
    "lightgcn",
    "metapaths",
    "embeddings",
    "tfidf",
]

Noise = Literal["keep", "weigh", "drop"]
Pooling = Literal["mean", "cls", "last"]
Precision = Literal["full", "half", "int8"]

MAX_SHOWN_CHARACTERS: Final = 100
"""Characters of a wrong value that a message shows."""

MAX_SHOWN_FAULTS: Final = 20
"""Wrong settings that a message names."""


class EncoderSettings(BaseModel):
    """A language model and how it is used; what is not given is as the model's own files say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Folder of a transformers model, or its id on the Hugging Face hub.")
    pooling: Pooling | None = Field(
        default=None, description="The mean of all token vectors, the first token's (cls) or the last one's."
    )
    text_prefix: str | None = Field(default=None, description="Put before the text of every node.")
    query_prefix: str | None = Field(default=None, description="Put before what is searched for.")
    max_tokens: int = Field(default=256, ge=1, description="Longer texts are cut; the model's own limit holds too.")
    precision: Precision | None = Field(
        default=None, description="Half on an NVIDIA GPU and full elsewhere if not given; int8 weights take a quarter."
    )


TuneMethod = Literal["lora", "adalora", "prefix", "full"]
Balance = Literal["none", "weights", "undersample", "oversample"]


class StepSettings(BaseModel):
    """What is learned of a text model on behaviors, and in how many steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: TuneMethod = Field(
        default="lora", description="What is learned: low-rank updates, those with ranks shared out, a prefix, or all."
    )
    rank: int = Field(default=16, ge=1, description="Rank of the updates; for a prefix, its tokens.")
    steps: int = Field(default=200, ge=1, description="Steps at most.")
    batch: int = Field(default=32, ge=2, description="Users a step.")
    history: int = Field(default=8, ge=2, description="Items of a user that a step takes, one after the other.")
    rate: float | None = Field(
        default=None, gt=0, description="Learning rate; if not given 0.001, for a prefix 0.01, for all weights 0.00003."
    )
    check_every: int = Field(default=25, ge=1, description="Steps between two looks at held-out users.")
    patience: int = Field(default=3, ge=1, description="Looks without gain after which it stops.")


class TuneSettings(StepSettings):
    """How the text model is fine-tuned on behaviors."""

    temperature: float = Field(default=0.1, gt=0, description="What cosines are divided by.")
    hard_negatives: int = Field(
        default=1, ge=0, description="Items a user and step that are near to theirs by the model as it was."
    )
    popularity_correction: bool = Field(
        default=True, description="Whether an item of others counts less the more likely it is to be in a batch."
    )
    balance: Balance = Field(
        default="none", description="Rare items as targets weigh more, or are repeated; or popular ones are left out."
    )
    focal: float = Field(default=0.0, ge=0, description="Focus on targets not yet found (focal loss); 0 is none.")


class RerankSettings(StepSettings):
    """How a cross-encoder is trained that orders the best items of a list once more."""

    model: str | None = Field(
        default=None, description="Folder or id of the text model; the one of the setting `encoder` if not given."
    )
    top: int = Field(default=100, ge=2, description="Best items of every user and domain that are ordered once more.")
    max_tokens: int = Field(
        default=256, ge=8, description="Longer pairs of texts are cut; the model's own limit holds too."
    )
    negatives: int = Field(
        default=4, ge=1, description="Items a user and step that they did not take: ranked high, or popular."
    )


def _as_method(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


def _as_model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class Config(BaseModel):
    """Settings of a recommender. What depends on the data is not here: it is chosen on a validation cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signals: tuple[SignalName, ...] = Field(
        default=get_args(SignalName),
        min_length=1,
        description="Signals that may take part; those the data does not allow are left out.",
    )
    encoder: Annotated[EncoderSettings | None, BeforeValidator(_as_model)] = Field(
        default=None,
        description="Model folder or id for text, or settings of one; the packaged all-MiniLM-L6-v2 if not given.",
    )
    tune: Annotated[TuneSettings | None, BeforeValidator(_as_method)] = Field(
        default=None,
        description="Method of fine-tuning the text model, or settings of it; the model is used as it is if not given.",
    )
    rerank: Annotated[RerankSettings | None, BeforeValidator(_as_method)] = Field(
        default=None,
        description="Method of training a cross-encoder for a second stage, or settings of it; none if not given.",
    )
    budget: str | None = Field(
        default=None,
        description="Time for a fit, such as 2min or 1h, that bounds the search; if not given, the data's size does.",
    )
    valid_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of behaviors in the validation cut, where none is given; split `last` has its own number.",
    )
    noise: Noise = Field(
        default="keep",
        description="Whether behaviors that `kgrec check GRAPH --noise` finds are learned from: all, half of them "
        "(weigh), or none (drop); never which are asked.",
    )
    seed: int = Field(default=0, ge=0, description="Makes the result repeat.")

    @field_validator("budget", mode="before")
    @classmethod
    def _is_duration(cls, budget: Any) -> Any:
        if budget is not None:
            seconds_of(str(budget))
        return budget

    @classmethod
    def read(cls, path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
        """Make settings from a YAML file and `key=value` overrides.

        Raises:
            UsageError: a file that cannot be read, an unknown key or a bad value; all of them at once.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = read_yaml(read_text(Path(path))) or {}
            except OSError as error:
                raise UsageError(f"config {path} cannot be read: {error}") from None
            except yaml.YAMLError as error:
                reason, line = described(error)
                place = f", line {line}" if line else ""
                raise UsageError(f"config {path}{place} cannot be read: {reason}") from None
        if not isinstance(values, dict):
            raise UsageError(f"config {path} holds {type(values).__name__}; expected `key: value` lines")
        for override in overrides:
            key, separator, value = override.partition("=")
            if not separator:
                raise UsageError(f"setting {override!r}; expected key=value")
            _put(values, key.strip().split("."), _parsed(override, value))
        return cls.checked(values)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Config:
        """Make settings from keywords.

        Raises:
            UsageError: an unknown key or a bad value; all of them at once.
        """
        for name, value in _texts(values):
            if holds_password(value):
                raise UsageError(f"setting {name!r}: found a user, a password or a token; expected a folder or a name")
        if isinstance(values.get("signals"), str):
            values = {**values, "signals": [name.strip() for name in values["signals"].split(",")]}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            found = error.errors()
            members = {e["loc"][:1] for e in found if len(e["loc"]) > 1}
            told = [e for e in found if e["type"] != "too_short" or e["loc"] not in members]
            more = [f"and {len(told) - MAX_SHOWN_FAULTS} more"] if len(told) > MAX_SHOWN_FAULTS else []
            raise UsageError("; ".join([*map(_fault, told[:MAX_SHOWN_FAULTS]), *more])) from None


def _texts(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts among settings, those of nested ones too, with their names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _texts(value, f"{path}{name}.")
        elif isinstance(value, str):
            yield f"{path}{name}", value


def _parsed(override: str, value: str) -> Any:
    try:
        return read_yaml(value)
    except yaml.YAMLError:
        raise UsageError(
            f"setting {override!r}: found a value that is not YAML; expected one such as 3 or a,b"
        ) from None


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Put a value where a path of keys, such as tune.rank, says."""
    if len(path) > 2:
        raise UsageError(
            f"setting {'.'.join(path)[:MAX_SHOWN_CHARACTERS]!r}; expected a name, or two such as tune.rank"
        )
    *outer, last = path
    for key in outer:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(
                f"setting {'.'.join(path)!r}: found {key}={repr(inner)[:MAX_SHOWN_CHARACTERS]}; "
                "expected its settings by name"
            )
        values = inner
    values[last] = value


_EXPECTED: Final = {
    "tuple_type": "names, such as popularity,ease",
    "too_short": "one name at least",
    "model_type": "a name, or settings by name",
    "missing": "a value",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "a text",
}
"""Kind of a fault in pydantic → what was expected, in a user's words, where pydantic's own are for programmers."""


def _fault(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])[:MAX_SHOWN_CHARACTERS]
    if error["type"] == "extra_forbidden":
        nested: dict[Any, type[BaseModel]] = {
            "encoder": EncoderSettings,
            "tune": TuneSettings,
            "rerank": RerankSettings,
        }
        known = Config if len(error["loc"]) == 1 else nested[error["loc"][0]]
        return f"unknown setting {name!r}; expected one of {', '.join(known.model_fields)}"
    message = error["msg"].removeprefix("Value error, expected ").removeprefix("Input should be ")
    message = f"a number {message}" if message.startswith(("greater", "less")) else message
    found = "nothing" if error["type"] == "missing" else repr(error["input"])[:MAX_SHOWN_CHARACTERS]
    return f"setting {name!r}: found {found}; expected {_EXPECTED.get(error['type'], message)}"
