"""Settings of a recommender: the one place where their defaults are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from kgrec.budget import seconds_of
from kgrec.errors import UsageError

SignalName = Literal[
    "popularity", "neighbours", "transitions", "spectral", "ials", "ease", "gnn", "paths", "text", "words"
]

Pooling = Literal["mean", "cls", "last"]
Precision = Literal["full", "half", "int8"]


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
    budget: str | None = Field(
        default=None,
        description="Time for a fit, such as 2min or 1h, that bounds the search; if not given, the data's size does.",
    )
    valid_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of behaviours in the validation cut, where none is given; split `last` has its own number.",
    )
    noise: Literal["keep", "drop"] = Field(
        default="keep",
        description="Whether behaviours that `kgrec check GRAPH --noise` finds are learnt from; never which are asked.",
    )
    seed: int = Field(default=0, ge=0, description="Makes the result repeat.")

    @field_validator("budget", mode="after")
    @classmethod
    def _is_duration(cls, budget: str | None) -> str | None:
        if budget is not None:
            seconds_of(budget)
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
                values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise UsageError(f"config {path} cannot be read: {error}") from None
        if not isinstance(values, dict):
            raise UsageError(f"config {path} holds {type(values).__name__}; expected `key: value` lines")
        for override in overrides:
            key, separator, value = override.partition("=")
            if not separator:
                raise UsageError(f"setting {override!r}; expected key=value")
            values[key.strip()] = _parsed(override, value)
        return cls.checked(values)

    @classmethod
    def checked(cls, values: dict[str, Any]) -> Config:
        """Make settings from keywords.

        Raises:
            UsageError: an unknown key or a bad value; all of them at once.
        """
        if isinstance(values.get("signals"), str):
            values = {**values, "signals": [name.strip() for name in values["signals"].split(",")]}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError("; ".join(_fault(e) for e in error.errors())) from None


def _parsed(override: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(
            f"setting {override!r}: found a value that is not YAML; expected one such as 3 or a,b"
        ) from None


def _fault(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = Config if len(error["loc"]) == 1 else EncoderSettings
        return f"unknown setting {name!r}; expected one of {', '.join(known.model_fields)}"
    return f"setting {name!r}: found {error['input']!r}; {error['msg'].removeprefix('Value error, ')}"
