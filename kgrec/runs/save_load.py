"""Saving a fitted recommender to a run folder, and loading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from kgrec._util.array_layout import check_arrays
from kgrec.config import Config
from kgrec.data.edges import Edges
from kgrec.data.feedback_weights import curve_arrays, curves_from
from kgrec.data.noise import without_noise
from kgrec.data.schema import Schema
from kgrec.data.single_domain import single_domain, single_domain_vectors
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.errors import RunError, UsageError
from kgrec.hybrid.blend import GroupedBlend
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.segment_models import SegmentModels
from kgrec.runs.content_checks import check_ends
from kgrec.runs.folder import Run, read_run, write_run
from kgrec.runs.publish import checked_vectors
from kgrec.runs.untrusted_files import using
from kgrec.signals import signal_kinds, with_classes
from kgrec.signals.base import Signal, Signals
from kgrec.text.base import TextEncoder
from kgrec.text.encoder_pair import model_of, with_model
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.training.pipeline import Trained

if TYPE_CHECKING:
    from kgrec.hybrid.second_stage import SecondStage

FACTS: Final = (
    "kgrec",
    "config",
    "schema",
    "digests",
    "labels",
    "edge_types",
    "settings",
    "blends",
    "seconds",
    "added_after_fit",
    "single_domain",
    "cold_start",
    "tuned",
    "second",
)
"""Keys of run.json that `save_model` derives from the model."""


def save_model(
    folder: str | Path,
    trained: Trained,
    config: Config,
    info: Mapping[str, Any] | None = None,
    tables: Mapping[str, pa.Table] | None = None,
) -> Run:
    """Write a trained model, with additional facts for run.json and additional tables, to a run folder.

    Raises:
        RunError: the folder exists and is not a run, or cannot be written.
    """
    train = trained.model.train
    facts = {"kgrec": version("kgrec"), "config": config.model_dump(mode="json"), **_model_facts(trained)}
    stored = {f"nodes-{label}": table for label, table in train.nodes.items()}
    stored |= {f"edges-{i}": _edge_table(edges) for i, edges in enumerate(train.edges.values())}
    return write_run(
        folder, {**facts, **(info or {})}, {**stored, **(tables or {})}, _model_arrays(trained), trained.choices
    )


def _model_facts(trained: Trained) -> dict[str, Any]:
    model = trained.model
    return {
        "schema": model.train.schema.to_dict(),
        "digests": {"train": model.train.digest, "schema": model.train.schema.digest},
        "labels": list(model.train.nodes),
        "edge_types": list(model.train.edges),
        "settings": _settings(model.signals),
        "blends": {domain: blend.to_dict() for domain, blend in model.blends.items()},
        "seconds": trained.seconds,
        "added_after_fit": sorted(model.added_after_fit),
        "tuned": trained.tuned and trained.tuned.to_dict(),
        "single_domain": {domain: list(signals) for domain, signals in model.segment_models.single_domain.items()},
        "cold_start": _settings(model.segment_models.cold_start),
        "second": model.second and model.second.to_dict(),
    }


def _model_arrays(trained: Trained) -> dict[str, dict[str, npt.NDArray[Any]]]:
    model = trained.model
    arrays = {f"signal-{name}": signal.state() for name, signal in model.signals.items()}
    for i, signals in enumerate(model.segment_models.single_domain.values()):
        arrays |= {f"single-domain-{i}-{name}": signal.state() for name, signal in signals.items()}
    arrays |= {f"cold-start-{name}": signal.state() for name, signal in model.segment_models.cold_start.items()}
    arrays["vectors"] = dict(trained.vectors)
    arrays["feedback"] = curve_arrays(model.train.feedback_curves)
    if trained.tuned:
        arrays["tuned"] = dict(trained.tuned.weights)
    if model.second:
        arrays["second"] = dict(model.second.tuned.weights)
    return arrays


def load_model(
    folder: str | Path, encoder: TextEncoder | None = None, signals: Sequence[type[Signal]] = ()
) -> tuple[Trained, Config]:
    """Load a model that `save_model` wrote.

    Args:
        folder: the run folder.
        encoder: the text encoder of the fit, if it is not the one in the settings.
        signals: classes of signals that are neither shipped nor registered as entry points.

    Raises:
        RunError: the folder is not a run, is damaged, or has an unsupported format; or the text model of its re-ranker
            is not installed.
        UsageError: the text model is not the one of the fit.
    """
    run = read_run(folder)
    config = Config.from_run(run.info["config"])
    config = config.model_copy(update={"signals": tuple(with_classes(config.signals, signals))})
    trained = _restore(run, signals)
    read = config.model_copy(update={"encoder": with_model(config.encoder, model_of(trained.choices))})
    second = _second(run, read, trained.model.train, encoder)
    return replace(trained, model=replace(trained.model, second=second)), config


def load_tuned(run: Run) -> FineTunedWeights | None:
    """Return the fine-tuned weights of the text model of a run; None if it was not fine-tuned.

    Raises:
        RunError: the weights are missing or damaged.
    """
    values = run.info.get("tuned")
    if not values:
        return None
    weights = run.arrays("tuned")
    with using(run.folder / "arrays" / "tuned.safetensors"):
        return FineTunedWeights.from_dict(values, weights)


def _restore(run: Run, given: Sequence[type[Signal]]) -> Trained:
    kinds = _kinds(run, given)
    train = _snapshot(run)
    vectors = checked_vectors(run, {label: table.num_rows for label, table in train.nodes.items()})
    settings = run.info["settings"]
    signals = _signals(run, kinds, "signal", settings, train, vectors)
    cold_start = _signals(run, kinds, "cold-start", run.info.get("cold_start", {}), train, vectors)
    only = {
        domain: _signals(
            run,
            kinds,
            f"single-domain-{i}",
            {name: settings[name] for name in names},
            single_domain(train, domain),
            single_domain_vectors(train, domain, vectors),
        )
        for i, (domain, names) in enumerate(run.info.get("single_domain", {}).items())
    }
    blends = {domain: GroupedBlend.from_dict(values) for domain, values in run.info["blends"].items()}
    with using(run.folder / "run.json"):
        for domain, blend in blends.items():
            if blend.signals != tuple(signals):
                raise ValueError(f"blends.{domain} has signals in another order than {', '.join(signals)}")
    model = HybridModel(train, signals, blends, frozenset(run.info["added_after_fit"]), SegmentModels(only, cold_start))
    return Trained(model, vectors, run.choices, run.info["seconds"], load_tuned(run))


def _second(run: Run, config: Config, train: GraphSnapshot, encoder: TextEncoder | None) -> SecondStage | None:
    values = run.info.get("second")
    if not values:
        return None
    from kgrec.hybrid.second_stage import SecondStage

    weights = run.arrays("second")
    with using(run.folder / "arrays" / "second.safetensors"):
        return SecondStage.from_dict(values, weights, train, config, encoder)


def _settings(signals: Signals) -> dict[str, Any]:
    return {name: signal.settings.model_dump(mode="json") for name, signal in signals.items()}


def _kinds(run: Run, given: Sequence[type[Signal]]) -> list[type[Signal]]:
    """Return the classes of the signals of a run.

    Raises:
        RunError: a signal is neither given nor installed.
    """
    names = list(run.info["settings"])
    try:
        return signal_kinds(with_classes(names, given))
    except UsageError as error:
        remedy = "install the package that registers it, or pass its class: Recommender.load(folder, signals=[…])"
        raise RunError(f"{run.folder} cannot be loaded: {error}. To load it, {remedy}") from None


def _signals(
    run: Run,
    kinds: Sequence[type[Signal]],
    prefix: str,
    settings: Mapping[str, Any],
    train: GraphSnapshot,
    vectors: Vectors,
) -> dict[str, Signal]:
    """Return the signals in `settings` (name → settings), fitted on `train`; their arrays are named `prefix`-NAME."""
    restored = {}
    for kind in [kind for kind in kinds if kind.name in settings]:
        with using(run.folder / "run.json"):
            signal = kind(kind.Settings.model_validate(settings[kind.name]))
        name = f"{prefix}-{kind.name}"
        arrays = run.arrays(name)
        with using(run.folder / "arrays" / f"{name}.safetensors"), np.errstate(over="raise", invalid="raise"):
            check_arrays(arrays, signal.layouts(train, vectors))
            restored[kind.name] = signal.restore(train, vectors, arrays)
    return restored


def _snapshot(run: Run) -> GraphSnapshot:
    nodes = {label: run.table(f"nodes-{label}") for label in run.info["labels"]}
    rows, edges = {label: table.num_rows for label, table in nodes.items()}, {}
    for i, (source, type_, target) in enumerate(run.info["edge_types"]):
        table = run.table(f"edges-{i}")
        ends = {end: table.column(end).to_numpy() for end in ("src", "dst")}
        with using(run.folder / "tables" / f"edges-{i}.parquet"):
            check_ends((source, type_, target), ends, rows)
        edges[source, type_, target] = Edges(ends["src"], ends["dst"], table.drop_columns(["src", "dst"]))
    curves = run.arrays("feedback")
    with using(run.folder / "arrays" / "feedback.safetensors"):
        train = GraphSnapshot(Schema.from_dict(run.info["schema"]), nodes, edges, curves_from(curves))
    with using(run.folder / "run.json"):
        _check_snapshot(run, train)
    if run.info["config"].get("noise") == "weigh":
        return replace(without_noise(train, "weigh"), stored_curves=train.stored_curves)
    return train


def _check_snapshot(run: Run, train: GraphSnapshot) -> None:
    """Check that the tables of a run are consistent with each other and with run.json."""
    for role, ids in (("user", train.users.ids), ("item", train.items.ids)):
        if not len(ids) or not pd.Index(ids).is_unique:
            raise ValueError(f"the tables have no {role}, or a duplicate id; expected unique ids")
    if not len(train.behaviors):
        raise ValueError("the tables have no behaviors; expected some")
    domains = set(train.item_domains)
    if missing := domains - run.info["blends"].keys():
        raise ValueError(f"blends lack {', '.join(sorted(missing))}; expected each domain with items")
    if strange := run.info.get("single_domain", {}).keys() - domains:
        raise ValueError(f"single_domain has {', '.join(sorted(strange))}; expected domains with items")
    if strange := set(run.info["added_after_fit"]) - set(train.items.ids):
        raise ValueError(f"added_after_fit has {', '.join(sorted(strange)[:3])}; expected ids of items")
    if train.digest != run.info["digests"]["train"]:
        raise ValueError("the tables do not match digests.train")


def _edge_table(edges: Edges) -> pa.Table:
    properties = {name: edges.table.column(name) for name in edges.table.column_names}
    return pa.table({"src": edges.src_num, "dst": edges.dst_num, **properties})
