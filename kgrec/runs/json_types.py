"""Types of the JSON files of a run folder: run.json and choices.json.

Content is checked before use, so that a tampered or untrusted run raises one `RunError` that names the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

from kgrec.config import PLUGIN_NAME, Config, TuneMethod
from kgrec.data.schema import Schema
from kgrec.errors import KgrecError
from kgrec.hybrid.blend import Kind
from kgrec.hybrid.candidate_lists import FEATURE_KINDS
from kgrec.runs.untrusted_files import MAX_NUMBER, shown, using
from kgrec.signals.base import LARGEST_SETTING

MIN_SCALE: Final = 1e-6
"""Minimum divisor of scores and counts."""


class Facts(dict[str, Any]):
    """The content of run.json; access to a missing key raises `RunError`."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        with using(self.path):
            raise ValueError(f"{key} is missing")


def _as_config(values: dict[str, Any]) -> dict[str, Any]:
    Config.checked(values, installed=False)
    return values


def _as_schema(values: dict[str, Any]) -> dict[str, Any]:
    try:
        Schema.from_dict(values)
    except KgrecError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return values


Text = Annotated[str, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, le=2**53)]
Number = Annotated[float, Strict(), Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
MaybeNaN = Annotated[float, Strict()]
"""A number; NaN if it could not be measured."""
Numbers = dict[Text, Number]
Gain = tuple[Number, Number, Number]
"""A difference and the two ends of its interval."""
Setting = (
    Annotated[bool, Strict()] | Count | Annotated[Number, Field(ge=-LARGEST_SETTING, le=LARGEST_SETTING)] | Text | None
)
SignalName = Annotated[str, Strict(), Field(pattern=f"^{PLUGIN_NAME}$")]
Signals = dict[SignalName, dict[Text, Setting]]
"""Signal → its settings."""


class _Object(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Digests(_Object):
    train: Text
    schema_: Text = Field(alias="schema")


class _Scale(_Object):
    model_config = ConfigDict(extra="forbid")

    mean: Number
    deviation: Annotated[Number, Field(ge=MIN_SCALE)]


class _Report(_Object):
    kind: Text | None = None
    shares: Numbers = {}
    signals: Numbers = {}
    options: Numbers = {}
    gain: Gain | None = None
    blend: Number | None = None
    fusion_weights: list[Number] = []


class _ColdItems(_Object):
    scale: Annotated[Number, Field(ge=MIN_SCALE)]
    weights: dict[Literal["content", "graph"], list[Annotated[Number, Field(ge=0)]]]
    in_validation: Annotated[bool, Strict()]


class _Blend(_Object):
    signals: list[SignalName] = Field(min_length=1)
    kind: Kind
    weights: dict[Text, list[Number]]
    activity: _Scale
    popularity: _Scale
    report: _Report

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights.keys() != set(FEATURE_KINDS):
            raise ValueError(f"found weights of {', '.join(self.weights)}; expected {', '.join(FEATURE_KINDS)}")
        fusion = [self.report.fusion_weights] if self.report.fusion_weights else []
        _expect_one_each([*self.weights.values(), *fusion], self.signals)
        return self


class _GroupedBlend(_Object):
    default: _Blend
    cold_start: _Blend | None
    cold_items: _ColdItems | None
    new_users: _Blend | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        of_new = list(self.cold_items.weights.values()) if self.cold_items else []
        _expect_one_each(of_new, self.default.signals)
        if any(not sum(weights) for weights in of_new):
            raise ValueError("found only weights of 0 for cold items; expected one above 0")
        for name, blend in (("cold_start", self.cold_start), ("new_users", self.new_users)):
            if blend and blend.signals != self.default.signals:
                raise ValueError(f"the {name} blend has other signals than the default blend")
        return self


def _expect_one_each(weights: Sequence[Sequence[Any]], signals: Sequence[Any]) -> None:
    if odd := [len(row) for row in weights if len(row) != len(signals)]:
        raise ValueError(f"found {odd[0]} weights of a kind; expected {len(signals)}, one per signal")


class _FineTunedWeights(_Object):
    model_config = ConfigDict(extra="forbid")

    method: TuneMethod
    rank: Annotated[Count, Field(ge=1)]
    model: Text
    schema_name: Text
    schema_: Text = Field(alias="schema")
    learned_from: Text
    losses: list[tuple[Count, MaybeNaN]]


class _Second(_Object):
    weights: Numbers
    tuned: _FineTunedWeights


class _Group(_Object):
    users: Count
    hybrid: Number
    popularity: Number
    gain: Gain
    worse: Annotated[bool, Strict()]


class _Metrics(_Object):
    protocol: Text
    users: Count
    models: dict[Text, Numbers] = Field(min_length=1)
    intervals: dict[Text, dict[Text, tuple[Number, Number]]]
    hybrid_against: dict[Text, dict[Text, Number | Text]] = {}
    domains: dict[Text, dict[Text, Numbers]] = {}
    groups: dict[Text, _Group] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        first = next(iter(self.models.values()))
        ndcg = {name for name in first if name.startswith("NDCG")}
        if not ndcg:
            raise ValueError("no NDCG among the metrics")
        for name, means in self.models.items():
            if means.keys() != first.keys() or ndcg - self.intervals.get(name, {}).keys():
                raise ValueError(f"metrics or intervals of {name!r} differ from those of the other models")
        return self


class _Summary(_Object):
    users: Count
    items: Count
    learned: Count = Field(alias="behaviors learned from")
    seconds: Number


class _Measured(_Object):
    users: Count
    metric: Text = "NDCG@20"
    current: Number | None = None
    candidate: Number | None = None
    difference: Number | None = None
    low: Number | None = None
    high: Number | None = None


class _Gate(_Object):
    measured: _Measured
    reasons: list[Text]


class _Refresh(_Object):
    mode: Text
    why: Text
    seconds: Number | None = None
    instead_of: Text | None = None


class _Size(_Object):
    behaviors: Count
    items: Count


class _Reached(_Object):
    then: Number | None = None
    now: Number | None = None


class RunInfo(_Object):
    """The keys of run.json that kgrec reads, with their types."""

    format: Annotated[int, Strict()]
    created: Annotated[Text, Field(pattern=r"^[0-9][0-9T:.+Z -]{3,40}$")] = "0000"
    kgrec: Text = ""
    config: Annotated[dict[Text, Any], AfterValidator(_as_config)] = {}
    schema_: Annotated[dict[Text, Any] | None, AfterValidator(_as_schema)] = Field(None, alias="schema")
    digests: _Digests | None = None
    labels: list[Text] = []
    edge_types: list[tuple[Text, Text, Text]] = []
    settings: Signals = {}
    blends: dict[Text, _GroupedBlend] = {}
    seconds: Numbers = {}
    added_after_fit: list[Text] = []
    single_domain: dict[Text, list[SignalName]] = {}
    cold_start: Signals = {}
    tuned: _FineTunedWeights | None = None
    second: _Second | None = None
    split: Text | None = None
    protocol: Text | None = None
    data_digest: Text | None = None
    encoded: Count | None = None
    metrics: _Metrics | None = None
    summary: _Summary | None = None
    gate: _Gate | None = None
    refresh: _Refresh | None = None
    reached: _Reached | None = None
    fitted: _Size | None = None
    chosen: _Size | None = None
    forgotten: Count = 0
    learned_with: list[Text] = []
    number: Count = 0
    files: dict[Text, Text] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.schema_ is not None:
            schema = Schema.from_dict(self.schema_)
            if self.digests and self.digests.schema_ != schema.digest:
                raise ValueError("the schema does not match digests.schema")
            _expect_distinct("labels", self.labels, schema.nodes)
            _expect_distinct("edge_types", self.edge_types, schema.all_edge_types())
            missing = {end for a, _, b in self.edge_types for end in (a, b)} - set(self.labels)
            if missing:
                raise ValueError(
                    f"edge_types have the ends {', '.join(sorted(missing))}; expected ends among the labels"
                )
        _expect_distinct("cold_start", list(self.cold_start), self.settings)
        for domain, names in self.single_domain.items():
            _expect_distinct(f"single_domain.{domain}", names, self.settings)
        for domain, blend in self.blends.items():
            if sorted(blend.default.signals) != sorted(self.settings):
                signals = shown(blend.default.signals)
                raise ValueError(f"blends.{domain} has signals {signals}; expected those of settings")
        if self.second and self.second.weights.keys() - self.blends.keys():
            raise ValueError("second.weights has domains without a blend")
        return self


def _expect_distinct(what: str, found: Sequence[Any], known: Sequence[Any] | Mapping[Any, Any]) -> None:
    if len(set(found)) < len(found) or not set(found) <= set(known):
        raise ValueError(f"{what}: found {shown(list(found))}; expected some of {shown(list(known))}, each once")


class _Tried(_Object):
    settings: dict[Text, Any]
    metric_value: MaybeNaN
    seconds: Number
    cpu_seconds: Number | None = None
    low_fidelity: Annotated[bool, Strict()] = False


class _Choice(_Object):
    settings: dict[Text, Any]
    metric_value: MaybeNaN
    tried: list[_Tried]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(tried.settings.keys() != self.settings.keys() for tried in self.tried):
            raise ValueError("the tried settings have different names")
        return self


class _Domain(_Object):
    learned: Text = Field(alias="learned from")
    single_domain: list[Text] = []
    options: Numbers = {}
    gain: Gain | None = None
    unchecked: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.gain is None) == (self.unchecked is None):
            raise ValueError("expected either gain or unchecked")
        return self


class _RerankDomain(_Object):
    weight: Number
    tried: Numbers
    gain: Gain | None = None


class _Rerank(_Object):
    losses: list[tuple[Count, MaybeNaN]] = []
    report: dict[Text, Numbers] = {}
    domains: dict[Text, _RerankDomain] = {}


class _RaceGroup(_Object):
    metric: MaybeNaN
    users: Count
    worth: Numbers
    left_out: Numbers


class _Race(_Object):
    groups: dict[Text, _RaceGroup] = {}


class _TextModel(_Object):
    name: Literal["multilingual", "none"]
    reason: Text


class Choices(_Object):
    """The keys of choices.json that kgrec reads, with their types."""

    signals: dict[Text, _Choice] = {}
    race: _Race | None = None
    skipped: dict[Text, Text] = {}
    text_model: _TextModel | None = None
    static_text: bool = False
    cpu_seconds: Numbers = {}
    cold_start: dict[Text, _Choice] = {}
    blends: dict[Text, _Report] = {}
    domains: dict[Text, _Domain] = {}
    rerank: _Rerank | None = None
    metric: Text = "NDCG@20"
