"""How much a refresh learns anew: the written rule. The first that holds is taken, and what it says goes into the run.

    full      there is no run to start from, the settings or the schema are others, or it was asked for
    full      the behaviours have grown by more than a fifth since settings and blend were chosen
    full      drift: the NDCG on the newest behaviours has fallen by more than a fifth since then
    full      the text model was fine-tuned on behaviours of a user, or with an item, that was forgotten since
    refit     a signal has learnt from a user or an item that was forgotten since
    refit     behaviours or items have grown by more than a twentieth since the signals were fitted
    fold-in   else

`full` chooses everything anew. `refit` fits every signal with the settings chosen before and keeps the blend. `fold-in`
fits nothing: new users, items and behaviours are scored by what was learnt (docs/cold-start.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from kgrec.data.snapshot import GraphSnapshot

How = Literal["full", "refit", "fold-in"]

CHOOSE: Final = 0.2
"""Growth since settings and blend were chosen, above which they are chosen again."""

DRIFT: Final = 0.2
"""Fall of the NDCG on the newest behaviours since settings were chosen, above which they are chosen again."""

FIT: Final = 0.05
"""Growth since the signals were fitted, above which they are fitted again."""


@dataclass(frozen=True)
class Size:
    """How large a graph is.

    Attributes:
        behaviours: without those marked as test.
        items: all of them.
    """

    behaviours: int
    items: int

    def growth_since(self, before: Mapping[str, int]) -> float:
        """Return by which share behaviours or items, whichever more, are others in number; 0.1 is a tenth."""
        pairs = ((self.behaviours, before["behaviours"]), (self.items, before["items"]))
        return max(abs(now - then) / max(then, 1) for now, then in pairs)


@dataclass(frozen=True)
class Decision:
    """What a refresh does, and why, in words."""

    how: How
    why: str


def size_of(snapshot: GraphSnapshot) -> Size:
    """Return how large a graph is."""
    return Size(int((snapshot.behaviours.split != "test").sum()), snapshot.n_items)


def decide(
    info: Mapping[str, Any] | None, now: Size, schema: str, config: Mapping[str, Any] | None, full: bool
) -> Decision:
    """Apply the rule.

    Args:
        info: run.json of the run that serves; None if there is none.
        now: size of the graph.
        schema: digest of the graph's schema.
        config: settings that were asked for; None for those of the run.
        full: whether everything is to be chosen anew.
    """
    if info is None:
        return Decision("full", "no run to start from")
    if full:
        return Decision("full", "asked for")
    if config is not None and config != info["config"]:
        return Decision("full", "other settings than those of the run")
    if schema != info["digests"]["schema"]:
        return Decision("full", "another schema than that of the run")
    since_chosen, since_fitted = (now.growth_since(size) for size in (chosen(info), fitted(info)))
    if since_chosen > CHOOSE:
        return Decision("full", f"{since_chosen:.1%} more since settings were chosen, above {CHOOSE:.0%}")
    if (fallen := _fall(info)) > DRIFT:
        return Decision("full", f"drift: NDCG on the newest behaviours {fallen:.1%} lower, above {DRIFT:.0%}")
    if learnt_with := info.get("learnt_with"):
        how: How = "full" if {"text model", "re-ranking"} & set(learnt_with) else "refit"
        return Decision(how, f"learnt with what was forgotten since: {', '.join(learnt_with)}")
    if since_fitted > FIT:
        return Decision("refit", f"{since_fitted:.1%} more since the signals were fitted, above {FIT:.0%}")
    return Decision("fold-in", f"{since_fitted:.1%} more since the signals were fitted, up to {FIT:.0%}")


def fitted(info: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size of the graph when the signals of a run were fitted."""
    summary = info["summary"]
    learnt: Mapping[str, int] = {"behaviours": summary["behaviours learnt from"], "items": summary["items"]}
    return dict(info.get("fitted", learnt))


def chosen(info: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size of the graph when settings and blend of a run were chosen."""
    return dict(info.get("chosen", fitted(info)))


def _fall(info: Mapping[str, Any]) -> float:
    """Return by which share the NDCG on the newest behaviours is lower than at first; 0 where that is not known."""
    then, now = (info.get("reached", {}).get(name) for name in ("then", "now"))
    return 1 - now / then if then and now is not None else 0.0
