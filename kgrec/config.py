"""Settings of a recommender: the one place where their defaults are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
)

from kgrec._util.duration import seconds_of
from kgrec._util.plugins import PluginGroup
from kgrec._util.safe_yaml import described, read_text, read_yaml
from kgrec._util.secrets import holds_password
from kgrec.errors import UsageError, near_matches

SIGNALS: Final = PluginGroup(
    "signal",
    "kgrec.signals",
    {
        "popularity": "kgrec.signals.cf.popularity:Popularity",
        "item_knn": "kgrec.signals.cf.item_knn:ItemKNN",
        "item_transitions": "kgrec.signals.cf.item_transitions:ItemTransitions",
        "spectral": "kgrec.signals.graph.spectral_filter:Spectral",
        "ials": "kgrec.signals.cf.ials:IALS",
        "ease": "kgrec.signals.cf.ease:EASE",
        "user_ease": "kgrec.signals.cf.user_ease:UserEASE",
        "cross_domain_ae": "kgrec.signals.cf.cross_domain_ae:CrossDomainAE",
        "lightgcn": "kgrec.signals.graph.lightgcn:LightGCN",
        "metapaths": "kgrec.signals.graph.metapaths:MetaPaths",
        "embeddings": "kgrec.signals.content.embeddings:Embeddings",
        "tfidf": "kgrec.signals.content.tfidf:TFIDF",
    },
)
"""The signals. Those that kgrec ships take part in a blend unless settings say otherwise; others, where named."""

PLUGIN_NAME: Final = r"[a-z][a-z0-9_]{0,39}"
"""What a plug-in may be called; a signal's name is part of the names of files."""

METRICS: Final = ("NDCG", "Recall", "Precision", "HR", "MRR", "MAP")
"""Metrics of one user's list, each at a cut-off k; see `kgrec.metrics.ranking`."""

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
    trust_remote_code: bool = Field(
        default=False, description="Run the Python code that comes with the model; never taken from a run."
    )
    allow_pickle_weights: bool = Field(
        default=False, description="Read weights in pickles too, which can run code; never taken from a run."
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
        default="none",
        description="Against imbalance: rare items weigh more (weights) or are repeated (oversample), or popular ones "
        "are left out (undersample). NDCG@10 on amazon-art-office: none .0603, .0490, .0595, .0514.",
    )
    focal: float = Field(
        default=0.0,
        ge=0,
        description="Exponent of the focal loss; 0 is none. NDCG@10 on amazon-art-office: 0 .0603, 2 .0602.",
    )


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


def _as_signal(value: Any) -> Any:
    name = getattr(value, "name", None) if isinstance(value, type) else value
    if not isinstance(name, str) or not re.fullmatch(PLUGIN_NAME, name):
        raise ValueError("expected the name of a signal, or a class of signals")
    return value


def signal_name(signal: str | type) -> str:
    """Return the name of a signal that is given by name or as a class."""
    return signal if isinstance(signal, str) else str(getattr(signal, "name", signal.__name__))


SignalRef = Annotated[Any, PlainValidator(_as_signal), PlainSerializer(signal_name, when_used="json")]
"""A signal, by name or as a class; its name in JSON."""


class Config(BaseModel):
    """Settings of a recommender. What depends on the data is not here: it is chosen on a validation cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signals: tuple[SignalRef, ...] = Field(
        default=tuple(SIGNALS.shipped),
        min_length=1,
        description="Signals that may take part, by name or as classes; those the data does not allow are left out.",
    )
    models: dict[str, dict[str, Any]] = Field(
        default={},
        description="Fixed settings of signals: name of a signal, name of a setting, value; the others are searched.",
    )
    metric: str = Field(
        default="NDCG@20",
        description=f"Metric on validation users that everything is chosen by: {', '.join(METRICS)}, each at any k.",
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
        description="Noise that `kgrec audit data` finds is learned from (keep), counts half (weigh), or is left out "
        "(drop). Test and validation data keep it.",
    )
    seed: int = Field(default=0, ge=0, description="Makes the result repeat.")

    @field_validator("metric")
    @classmethod
    def _is_metric(cls, metric: str) -> str:
        if not re.fullmatch(rf"({'|'.join(METRICS)})@[1-9]\d{{0,5}}", metric):
            raise ValueError(f"expected one of {', '.join(METRICS)} at a cut-off, such as NDCG@20 or Recall@10")
        return metric

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
    def from_run(cls, values: Mapping[str, Any]) -> Config:
        """Make settings from those that a run keeps; a run cannot allow code or pickles of a text model.

        Raises:
            UsageError: an unknown key or a bad value; all of them at once.
        """
        config = cls.checked(dict(values), installed=False)
        untrusted = {"trust_remote_code": False, "allow_pickle_weights": False}
        encoder = config.encoder and config.encoder.model_copy(update=untrusted)
        return config.model_copy(update={"encoder": encoder})

    @classmethod
    def checked(cls, values: dict[str, Any], *, installed: bool = True) -> Config:
        """Make settings from keywords.

        Args:
            values: name → value; `signals` may hold names, classes, and objects, whose settings are fixed.
            installed: whether each signal must be one of this installation, and have the settings named in `models`;
                without it, settings of a run can be read where a plug-in is missing.

        Raises:
            UsageError: an unknown key or a bad value; all of them at once.
        """
        for name, value in _texts(values):
            if holds_password(value):
                raise UsageError(f"setting {name!r}: found a user, a password or a token; expected a folder or a name")
        values = _with_objects(values)
        faults = _signal_faults(values) if installed else []
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            found = error.errors()
            members = {e["loc"][:1] for e in found if len(e["loc"]) > 1}
            faults = [*(_fault(e) for e in found if e["type"] != "too_short" or e["loc"] not in members), *faults]
        if faults:
            more = [f"and {len(faults) - MAX_SHOWN_FAULTS} more"] if len(faults) > MAX_SHOWN_FAULTS else []
            raise UsageError("; ".join([*faults[:MAX_SHOWN_FAULTS], *more]))
        return config


def _with_objects(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which `signals` is a list of names and classes; settings of signal objects go to `models`."""
    signals, models = values.get("signals"), values.get("models")
    if isinstance(signals, str):
        return {**values, "signals": [name.strip() for name in signals.split(",")]}
    if not isinstance(signals, list | tuple):
        return values
    objects = [signal for signal in signals if isinstance(getattr(signal, "settings", None), BaseModel)]
    if not objects or not isinstance(models, dict | None):
        return values
    fixed = {signal.name: signal.settings.model_dump(exclude_unset=True) for signal in objects}
    merged = {**(models or {}), **{name: {**given, **(models or {}).get(name, {})} for name, given in fixed.items()}}
    return {**values, "signals": [type(s) if s in objects else s for s in signals], "models": merged}


def _signal_faults(values: dict[str, Any]) -> list[str]:
    """Return what is wrong with the signals that settings name, and with the settings fixed for them."""
    signals, models = values.get("signals", Config.model_fields["signals"].default), values.get("models", {})
    if not isinstance(signals, list | tuple) or not isinstance(models, dict):
        return []
    classes = {signal_name(signal): signal for signal in signals if isinstance(signal, type)}
    known, faults = {*SIGNALS.names(), *classes}, []
    faults += [SIGNALS.unknown(name, known) for name in signals if isinstance(name, str) and name not in known]
    names = [signal_name(signal) for signal in signals if isinstance(signal, str | type)]
    for name, fixed in models.items():
        if name not in known:
            faults.append(f"setting 'models': {SIGNALS.unknown(name, known)}")
        elif name not in names:
            faults.append(f"setting 'models.{name}': expected one of the signals that take part: {', '.join(names)}")
        elif isinstance(fixed, dict):
            faults += _model_faults(name, fixed, classes)
    return faults


def _model_faults(name: str, fixed: dict[str, Any], classes: dict[str, type]) -> list[str]:
    try:
        kind: Any = classes.get(name) or SIGNALS.load(name)
        kind.Settings.model_validate(fixed)
    except ValidationError as error:
        return [_fault({**e, "loc": ("models", name, *e["loc"])}, kind.Settings) for e in error.errors()]
    except UsageError as error:
        return [str(error)]
    return []


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
    if len(path) > (3 if path[0] == "models" else 2):
        expected = "a name, two such as tune.rank, or three such as models.ials.factors"
        raise UsageError(f"setting {'.'.join(path)[:MAX_SHOWN_CHARACTERS]!r}; expected {expected}")
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
    "dict_type": "settings by name",
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


_NESTED: Final[dict[Any, type[BaseModel]]] = {
    "encoder": EncoderSettings,
    "tune": TuneSettings,
    "rerank": RerankSettings,
}


def _fault(error: Any, owner: type[BaseModel] | None = None) -> str:
    """Return the message for a fault that pydantic found; `owner` has the setting where it is a signal's."""
    name = ".".join(str(part) for part in error["loc"])[:MAX_SHOWN_CHARACTERS]
    if error["type"] == "extra_forbidden":
        known = (owner or (Config if len(error["loc"]) == 1 else _NESTED[error["loc"][0]])).model_fields
        near = near_matches(str(error["loc"][-1]), known)
        return f"unknown setting {name!r}; expected one of {', '.join(known)}{near}"
    message = error["msg"].removeprefix("Value error, expected ").removeprefix("Input should be ")
    message = f"a number {message}" if message.startswith(("greater", "less")) else message
    found = "nothing" if error["type"] == "missing" else repr(error["input"])[:MAX_SHOWN_CHARACTERS]
    return f"setting {name!r}: found {found}; expected {_EXPECTED.get(error['type'], message)}"
