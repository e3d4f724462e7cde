"""How much a refresh learns anew: the written rule. The first that holds is taken, and what it says goes into the run.

    full      there is no run to start from, the settings or the schema are others, or it was asked for
    full      the behaviors have grown by more than a fifth since settings and blend were chosen
    full      drift: the NDCG on the newest behaviors has fallen by more than a fifth since then
    full      the text model was fine-tuned on behaviors of a user, or with an item, that was forgotten since
    refit     a signal has learned from a user or an item that was forgotten since
    refit     behaviors or items have grown by more than a twentieth since the signals were fitted
    fold-in   else

`full` chooses everything anew. `refit` fits every signal with the settings chosen before and keeps the blend. `fold-in`
fits nothing: new users, items and behaviors are scored by what was learned (docs/how-to/cold-start.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from kgrec.data.snapshot import GraphSnapshot

Mode = Literal["full", "refit", "fold-in"]

TUNE_GROWTH_SHARE: Final = 0.2
"""Growth since settings and blend were chosen, above which they are chosen again."""

DRIFT_SHARE: Final = 0.2
"""Fall of the NDCG on the newest behaviors since settings were chosen, above which they are chosen again."""

REFIT_GROWTH_SHARE: Final = 0.05
"""Growth since the signals were fitted, above which they are fitted again."""


@dataclass(frozen=True)
class Size:
    """How large a graph is.

    Attributes:
        behaviors: without those marked as test.
        items: all of them.
    """

    behaviors: int
    items: int

    def growth_since(self, before: Mapping[str, int]) -> float:
        """Return by which share behaviors or items, whichever more, are others in number; 0.1 is a tenth."""
        pairs = ((self.behaviors, before["behaviors"]), (self.items, before["items"]))
        return max(abs(now - then) / max(then, 1) for now, then in pairs)


@dataclass(frozen=True)
class UpdatePlan:
    """What a refresh does, and why, in words."""

    mode: Mode
    why: str


def size_of(snapshot: GraphSnapshot) -> Size:
    """Return how large a graph is."""
    return Size(int((snapshot.behaviors.split != "test").sum()), snapshot.n_items)


def plan_update(
    info: Mapping[str, Any] | None, now: Size, schema: str, config: Mapping[str, Any] | None, full: bool
) -> UpdatePlan:
    """Apply the rule.

    Args:
        info: run.json of the run that serves; None if there is none.
        now: size of the graph.
        schema: digest of the graph's schema.
        config: settings that were asked for; None for those of the run.
        full: whether everything is to be chosen anew.
    """
    if info is None:
        return UpdatePlan("full", "no run to start from")
    if full:
        return UpdatePlan("full", "asked for")
    if config is not None and config != info["config"]:
        return UpdatePlan("full", "other settings than those of the run")
    if schema != info["digests"]["schema"]:
        return UpdatePlan("full", "another schema than that of the run")
    since_chosen, since_fitted = (now.growth_since(size) for size in (chosen(info), fitted(info)))
    if since_chosen > TUNE_GROWTH_SHARE:
        return UpdatePlan("full", f"{since_chosen:.1%} more since settings were chosen, above {TUNE_GROWTH_SHARE:.0%}")
    if (fallen := _fall(info)) > DRIFT_SHARE:
        return UpdatePlan("full", f"drift: NDCG on the newest behaviors {fallen:.1%} lower, above {DRIFT_SHARE:.0%}")
    if learned_with := info.get("learned_with"):
        mode: Mode = "full" if {"text model", "re-ranking"} & set(learned_with) else "refit"
        return UpdatePlan(mode, f"learned with what was forgotten since: {', '.join(learned_with)}")
    if since_fitted > REFIT_GROWTH_SHARE:
        return UpdatePlan(
            "refit", f"{since_fitted:.1%} more since the signals were fitted, above {REFIT_GROWTH_SHARE:.0%}"
        )
    return UpdatePlan(
        "fold-in", f"{since_fitted:.1%} more since the signals were fitted, up to {REFIT_GROWTH_SHARE:.0%}"
    )


def fitted(info: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size of the graph when the signals of a run were fitted."""
    summary = info["summary"]
    learned: Mapping[str, int] = {"behaviors": summary["behaviors learned from"], "items": summary["items"]}
    return dict(info.get("fitted", learned))


def chosen(info: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size of the graph when settings and blend of a run were chosen."""
    return dict(info.get("chosen", fitted(info)))


def _fall(info: Mapping[str, Any]) -> float:
    """Return by which share the NDCG on the newest behaviors is lower than at first; 0 where that is not known."""
    then, now = (info.get("reached", {}).get(name) for name in ("then", "now"))
    return 1 - now / then if then and now is not None else 0.0
