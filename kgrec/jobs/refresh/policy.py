"""Retraining policy: how much of the model a refresh retrains. The first matching line applies; the run records it.

    full      there is no live run, the settings or the schema differ from its own, or `--full` was given
    full      the number of behaviors or items changed by more than 20 % since settings and blend were tuned
    full      drift: the metric on the newest behaviors fell by more than 20 % since then
    full      the text model was fine-tuned on behaviors of a user or an item that was erased since
    refit     a signal was trained on a user or an item that was erased since
    refit     the number of behaviors or items changed by more than 5 % since the signals were fitted
    fold-in   otherwise

`full` tunes and fits everything. `refit` fits each signal with the tuned settings and keeps the blend. `fold-in` fits
nothing: the existing model scores new users, items and behaviors (docs/how-to/cold-start.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from kgrec.data.snapshot import GraphSnapshot

Mode = Literal["full", "refit", "fold-in"]

TUNE_GROWTH_SHARE: Final = 0.2
"""Growth of the data since settings and blend were tuned, above which they are tuned again."""

DRIFT_SHARE: Final = 0.2
"""Relative fall of the metric on the newest behaviors since settings were tuned, above which they are tuned again."""

REFIT_GROWTH_SHARE: Final = 0.05
"""Growth of the data since the signals were fitted, above which they are fitted again."""

TEXT_MODEL: Final = "text model"
RERANKER: Final = "re-ranking"
"""Names of fine-tuned models in "learned_with" of run.json; other names there are signals."""


@dataclass(frozen=True)
class Size:
    """Size of a graph.

    Attributes:
        behaviors: number of behaviors, without those marked as test.
        items: number of items.
    """

    behaviors: int
    items: int

    def growth_since(self, before: Mapping[str, int]) -> float:
        """Return the larger relative change (up or down) of the numbers of behaviors and of items; 0.1 is 10 %."""
        pairs = ((self.behaviors, before["behaviors"]), (self.items, before["items"]))
        return max(abs(now - then) / max(then, 1) for now, then in pairs)


@dataclass(frozen=True)
class UpdatePlan:
    """How much a refresh retrains, and the reason as text."""

    mode: Mode
    why: str


def size_of(snapshot: GraphSnapshot) -> Size:
    """Return the size of a graph."""
    return Size(int((snapshot.behaviors.split != "test").sum()), snapshot.n_items)


def plan_update(
    info: Mapping[str, Any] | None, now: Size, schema: str, config: Mapping[str, Any] | None, full: bool
) -> UpdatePlan:
    """Return how much to retrain, by the policy of this module.

    Args:
        info: run.json of the live run; None if there is none.
        now: size of the graph.
        schema: digest of the graph's schema.
        config: settings of the request; None to keep the live run's.
        full: whether a full retrain was requested.
    """
    if info is None:
        return UpdatePlan("full", "no live run")
    if full:
        return UpdatePlan("full", "requested")
    if config is not None and config != info["config"]:
        return UpdatePlan("full", "settings differ from those of the live run")
    if schema != info["digests"]["schema"]:
        return UpdatePlan("full", "schema differs from that of the live run")
    since_chosen, since_fitted = (now.growth_since(size) for size in (chosen(info), fitted(info)))
    if since_chosen > TUNE_GROWTH_SHARE:
        return UpdatePlan("full", f"data changed by {since_chosen:.1%} since tuning, above {TUNE_GROWTH_SHARE:.0%}")
    if (fallen := _metric_drop(info)) > DRIFT_SHARE:
        metric = info["config"].get("metric", "NDCG@20").partition("@")[0]
        return UpdatePlan(
            "full", f"drift: {metric} on the newest behaviors fell by {fallen:.1%}, above {DRIFT_SHARE:.0%}"
        )
    if learned_with := info.get("learned_with"):
        mode: Mode = "full" if {TEXT_MODEL, RERANKER} & set(learned_with) else "refit"
        return UpdatePlan(mode, f"trained on data erased since: {', '.join(learned_with)}")
    if since_fitted > REFIT_GROWTH_SHARE:
        return UpdatePlan("refit", f"data changed by {since_fitted:.1%} since the fit, above {REFIT_GROWTH_SHARE:.0%}")
    return UpdatePlan("fold-in", f"data changed by {since_fitted:.1%} since the fit, up to {REFIT_GROWTH_SHARE:.0%}")


def fitted(info: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size of the graph when the signals of a run were fitted."""
    summary = info["summary"]
    learned: Mapping[str, int] = {"behaviors": summary["behaviors learned from"], "items": summary["items"]}
    return dict(info.get("fitted", learned))


def chosen(info: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size of the graph when settings and blend of a run were tuned."""
    return dict(info.get("chosen", fitted(info)))


def _metric_drop(info: Mapping[str, Any]) -> float:
    """Return the relative fall of the metric on the newest behaviors since tuning; 0 if it was not measured."""
    then, now = (info.get("reached", {}).get(name) for name in ("then", "now"))
    return 1 - now / then if then and now is not None else 0.0
