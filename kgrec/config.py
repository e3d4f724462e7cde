"""Settings of a recommender, with their defaults."""

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
        "attribute_ridge": "kgrec.signals.cf.attribute_ridge:AttributeRidge",
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
"""Registry of signals. By default, all shipped signals take part in a blend; plug-ins only if settings name them."""

PLUGIN_NAME: Final = r"[a-z][a-z0-9_]{0,39}"
"""Pattern of a plug-in's name, which becomes part of file names."""

METRICS: Final = ("NDCG", "Recall", "Precision", "HR", "MRR", "MAP")
"""Ranking metrics, each at a cut-off k; see `kgrec.metrics.ranking`."""

PACKAGED_MODEL: Final = "all-MiniLM-L6-v2"
"""The text model that is installed with kgrec."""

MULTILINGUAL_MODEL: Final = "multilingual"
"""The text model of a hundred languages that is installed with the extra of that name."""

Effort = Literal["fast", "balanced", "best"]
Noise = Literal["keep", "weigh", "drop"]
Pooling = Literal["mean", "cls", "last"]
Precision = Literal["full", "half", "int8"]

MAX_SHOWN_CHARACTERS: Final = 100
"""Maximum number of characters of a wrong value in a message."""

MAX_SHOWN_FAULTS: Final = 20
"""Maximum number of wrong settings named in a message."""


class EncoderSettings(BaseModel):
    """A language model and its use; settings that are not given come from the model's own files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default=PACKAGED_MODEL,
        description=f"Folder of a transformers model, or its id on the Hugging Face hub; {PACKAGED_MODEL} is packaged, "
        f"{MULTILINGUAL_MODEL} is an extra.",
    )
    pooling: Pooling | None = Field(
        default=None, description="Pooling of token vectors: mean, first token (cls) or last token."
    )
    text_prefix: str | None = Field(default=None, description="Prefix of the text of every node.")
    query_prefix: str | None = Field(default=None, description="Prefix of a search text.")
    max_tokens: int = Field(
        default=256, ge=1, description="Tokens per text, up to the model's own limit; the rest is cut."
    )
    precision: Precision | None = Field(
        default=None,
        description="Default: half on an NVIDIA GPU and on a CPU that multiplies in bfloat16, else full. int8 takes a "
        "quarter of the memory.",
    )
    static: bool | None = Field(
        default=None,
        description="Encode a text as the mean vector of its tokens, many times faster than by the model. "
        "Default: where the model would take too long for the effort or the budget.",
    )
    encode_behaviors: bool = Field(
        default=False,
        description="Encode sentences about a user's behaviors. By default, a user without another text gets the mean "
        "vector of the items in them.",
    )
    trust_remote_code: bool = Field(
        default=False, description="Allow Python code of the model to run; ignored in the settings of a run."
    )
    allow_pickle_weights: bool = Field(
        default=False, description="Allow pickled weights, which can run code; ignored in the settings of a run."
    )


TuneMethod = Literal["lora", "adalora", "prefix", "full"]
Balance = Literal["none", "weights", "undersample", "oversample"]


class StepSettings(BaseModel):
    """Training of a text model on interactions: method and number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: TuneMethod = Field(
        default="lora", description="Trained weights: low-rank updates, those of adaptive rank, a prefix, or all."
    )
    rank: int = Field(default=16, ge=1, description="Rank of the updates; for a prefix, its number of tokens.")
    steps: int = Field(default=200, ge=1, description="Maximum number of steps.")
    batch: int = Field(default=32, ge=2, description="Users per step.")
    history: int = Field(default=8, ge=2, description="Consecutive items of a user in a step.")
    rate: float | None = Field(
        default=None, gt=0, description="Learning rate; default 0.001, for a prefix 0.01, for all weights 0.00003."
    )
    check_every: int = Field(default=25, ge=1, description="Steps between evaluations on held-out users.")
    patience: int = Field(default=3, ge=1, description="Evaluations without improvement before early stopping.")


class TuneSettings(StepSettings):
    """Fine-tuning of the text model on interactions."""

    temperature: float = Field(default=0.1, gt=0, description="Divisor of the cosines in the contrastive loss.")
    hard_negatives: int = Field(
        default=1, ge=0, description="Hard negatives per user and step: similar items by the model before fine-tuning."
    )
    popularity_correction: bool = Field(
        default=True, description="Whether to correct in-batch negatives for their sampling probability (logQ)."
    )
    balance: Balance = Field(
        default="none",
        description="Correction of popularity imbalance: higher weights of rare items (weights), fewer popular ones "
        "(undersample), or repeated rare ones (oversample). NDCG@10 on amazon-art-office: none .0603, weights .0490, "
        "oversample .0595, undersample .0514.",
    )
    focal: float = Field(
        default=0.0,
        ge=0,
        description="Exponent of the focal loss; 0 disables it. NDCG@10 on amazon-art-office: 0 .0603, 2 .0602.",
    )


class RerankSettings(StepSettings):
    """Training of a cross-encoder that re-ranks the top items of a list."""

    model: str | None = Field(
        default=None, description="Folder or id of the text model; default: the model of the setting `encoder`."
    )
    top: int = Field(default=100, ge=2, description="Number of top items per user and domain to re-rank.")
    max_tokens: int = Field(
        default=256, ge=8, description="Tokens per pair of texts, up to the model's own limit; the rest is cut."
    )
    negatives: int = Field(
        default=4, ge=1, description="Negatives per user and step, from high-ranked and popular items."
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
    """Return the name of a signal given by name or class."""
    return signal if isinstance(signal, str) else str(getattr(signal, "name", signal.__name__))


SignalRef = Annotated[Any, PlainValidator(_as_signal), PlainSerializer(signal_name, when_used="json")]
"""A signal by name or class; serialized to JSON by name."""


class Config(BaseModel):
    """Settings of a recommender. Hyper-parameters of signals and blends are not among them unless fixed by `models`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signals: tuple[SignalRef, ...] = Field(
        default=tuple(SIGNALS.shipped),
        min_length=1,
        description="Signals to use, by name or class; signals that the data do not support are skipped.",
    )
    models: dict[str, dict[str, Any]] = Field(
        default={},
        description="Fixed settings of signals: signal → setting → value; other settings are searched.",
    )
    metric: str = Field(
        default="NDCG@20",
        description=f"Metric of all choices and of a refresh's gate: {', '.join(METRICS)}, each at any cut-off k.",
    )
    encoder: Annotated[EncoderSettings | None, BeforeValidator(_as_model)] = Field(
        default=None,
        description="Folder or id of the text model, or its settings; default: the packaged all-MiniLM-L6-v2.",
    )
    tune: Annotated[TuneSettings | None, BeforeValidator(_as_method)] = Field(
        default=None,
        description="Method of fine-tuning the text model, or its settings; default: no fine-tuning.",
    )
    rerank: Annotated[RerankSettings | None, BeforeValidator(_as_method)] = Field(
        default=None,
        description="Method of training a cross-encoder to re-rank lists, or its settings; default: no re-ranking.",
    )
    effort: Effort = Field(
        default="balanced",
        description="fast: default settings; balanced: a short search, longer for the signals that the blend needs; "
        "best: a long search for all signals.",
    )
    budget: str | None = Field(
        default=None,
        description="Time for a fit, such as 2min or 1h: it limits the search and leaves out slow signals; default: by "
        "the size of the data.",
    )
    valid_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of interactions in the validation split if the data mark none; not for the split `last`.",
    )
    noise: Noise = Field(
        default="keep",
        description="Weight of the noise that `kgrec audit data` finds: full (keep), half (weigh) or none (drop). "
        "Test and validation data always keep it.",
    )
    seed: int = Field(default=0, ge=0, description="Random seed; equal seeds give equal results.")

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
        """Return settings from a YAML file and `key=value` overrides.

        Raises:
            UsageError: the file cannot be read, a key is unknown or a value is bad; the error lists all faults.
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
        """Return the settings of a run; a run cannot allow code or pickled weights of a text model.

        Raises:
            UsageError: a key is unknown or a value is bad; the error lists all faults.
        """
        config = cls.checked(dict(values), installed=False)
        untrusted = {"trust_remote_code": False, "allow_pickle_weights": False}
        encoder = config.encoder and config.encoder.model_copy(update=untrusted)
        return config.model_copy(update={"encoder": encoder})

    @classmethod
    def checked(cls, values: dict[str, Any], *, installed: bool = True) -> Config:
        """Return validated settings from a dictionary.

        Args:
            values: name → value; `signals` may contain names, classes and objects, whose settings are then fixed.
            installed: whether to check that signals are installed and have the settings in `models`; False allows
                settings of a run to be read without its plug-ins.

        Raises:
            UsageError: a key is unknown or a value is bad; the error lists all faults.
        """
        for name, value in _texts(values):
            if holds_password(value):
                raise UsageError(f"setting {name!r}: found a user, a password or a token; expected a folder or a name")
        values = _with_objects(values)
        faults = _signal_faults(values) if installed else []
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            errors = error.errors()
            members = {e["loc"][:1] for e in errors if len(e["loc"]) > 1}
            faults = [*(_fault(e) for e in errors if e["type"] != "too_short" or e["loc"] not in members), *faults]
        if faults:
            more = [f"and {len(faults) - MAX_SHOWN_FAULTS} more"] if len(faults) > MAX_SHOWN_FAULTS else []
            raise UsageError("; ".join([*faults[:MAX_SHOWN_FAULTS], *more]))
        return config


def _with_objects(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings with a list of names and classes as `signals`; settings of signal objects move to `models`."""
    signals, models = values.get("signals"), values.get("models")
    if isinstance(signals, str):
        return {**values, "signals": [name.strip() for name in signals.split(",")]}
    if not isinstance(signals, list | tuple):
        return values
    objects = [signal for signal in signals if isinstance(getattr(signal, "settings", None), BaseModel)]
    if not objects or not isinstance(models, dict | None):
        return values
    fixed: dict[str, dict[str, Any]] = {}
    for signal in objects:
        given = signal.settings.model_dump(exclude_unset=True)
        if fixed.setdefault(signal.name, given) != given:
            raise UsageError(f"setting 'signals': found two {signal.name!r} that differ; expected each signal once")
    merged = {**(models or {}), **{name: {**given, **(models or {}).get(name, {})} for name, given in fixed.items()}}
    return {**values, "signals": [type(s) if s in objects else s for s in signals], "models": merged}


def _signal_faults(values: dict[str, Any]) -> list[str]:
    """Return messages for unknown signals and for wrong settings in `models`."""
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
    """Yield name and value of all string settings, including nested ones."""
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
    """Set the value of a setting by its path of keys, such as tune.rank."""
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
"""Error type of pydantic → the expected value in words for users."""


_NESTED: Final[dict[Any, type[BaseModel]]] = {
    "encoder": EncoderSettings,
    "tune": TuneSettings,
    "rerank": RerankSettings,
}


def _fault(error: Any, owner: type[BaseModel] | None = None) -> str:
    """Return the message for an error of pydantic; `owner` is the class of settings for a setting of a signal."""
    name = ".".join(str(part) for part in error["loc"])[:MAX_SHOWN_CHARACTERS]
    if error["type"] == "extra_forbidden":
        known = (owner or (Config if len(error["loc"]) == 1 else _NESTED[error["loc"][0]])).model_fields
        near = near_matches(str(error["loc"][-1]), known)
        return f"unknown setting {name!r}; expected one of {', '.join(known)}{near}"
    message = error["msg"].removeprefix("Value error, expected ").removeprefix("Input should be ")
    message = f"a number {message}" if message.startswith(("greater", "less")) else message
    found = "nothing" if error["type"] == "missing" else repr(error["input"])[:MAX_SHOWN_CHARACTERS]
    return f"setting {name!r}: found {found}; expected {_EXPECTED.get(error['type'], message)}"
