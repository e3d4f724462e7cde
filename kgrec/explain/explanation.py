"""Explanation of a score: each signal's share of it, and the strongest paths in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from kgrec._util import html
from kgrec._util.terminal import escaped
from kgrec._util.types import IntArray
from kgrec.data.schema_parts import EdgeType
from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.model import HybridModel, Scored
from kgrec.signals.graph.metapath_matrices import MetaPath, shared_nodes
from kgrec.signals.graph.metapaths import MetaPaths

MAX_METAPATHS: Final = 5
"""Maximum number of meta-paths in an explanation."""
MAX_CO_CHOSEN: Final = 3
"""Maximum number of items in an explanation that were chosen by the same users."""
MAX_SHARED_NODES: Final = 3
"""Maximum number of shared nodes named in a path."""
RERANK: Final = "re-ranking"
"""Name of the second stage among the signals of `Explanation.shares`."""


@dataclass(frozen=True)
class Path:
    """A path through the graph from a user to an item.

    Attributes:
        text: description: the user, an item of the history or another user, the shared nodes, the explained item.
        strength: 0 … 1, share of the path's value among all paths of its kind to the item.
    """

    text: str
    strength: float


@dataclass(frozen=True)
class Explanation:
    """Explanation of the score of one item for one user.

    Attributes:
        user_id, item_id, item_name: the user and the item.
        score: the final score.
        rank: rank among the user's unseen items, from 1; None for a seen item.
        shares: signal or `RERANK` → its share; the shares sum to the score.
        paths: paths in the graph, strongest first within each kind.
    """

    user_id: str | int
    item_id: str | int
    item_name: str
    score: float
    rank: int | None
    shares: Mapping[str, float]
    paths: Sequence[Path]

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready values."""
        return asdict(self)

    @property
    def _title(self) -> str:
        place = "already seen" if self.rank is None else f"rank {self.rank}"
        return f"{self.item_name} ({self.item_id}) for user {self.user_id}: score {self.score:.3f}, {place}"

    @property
    def _by_size(self) -> list[tuple[str, float]]:
        return sorted(((name, share) for name, share in self.shares.items() if share), key=lambda share: -abs(share[1]))

    def _repr_html_(self) -> str:
        shares = [(name, f"{share:+.3f}") for name, share in self._by_size]
        paths = [(path.text, f"{path.strength:.0%}") for path in self.paths]
        return (
            html.title(self._title)
            + html.table(["signal", "share of the score"], shares)
            + html.table(["path", "strength"], paths)
        )

    def __str__(self) -> str:
        lines = [self._title]
        lines += [f"  {share:+.3f}  {name}" for name, share in self._by_size]
        lines += [f"  {path.text}" for path in self.paths]
        return "\n".join(map(escaped, lines))


def explain(model: HybridModel, user_num: int, item_num: int) -> Explanation:
    """Return the explanation of one score."""
    train = model.train
    scored = model.score(np.array([user_num]))
    shares = dict(zip(model.signals, scored.shares(np.array([[item_num]]))[0, 0].tolist(), strict=True))
    if second := float(scored.second_share(np.array([[item_num]]))[0, 0]):
        shares[RERANK] = second
    score = float(scored.total[0, item_num])
    if scored.new[0]:
        shares = {"popularity": score}
    return Explanation(
        train.users.original[[user_num]].tolist()[0],
        train.items.original[[item_num]].tolist()[0],
        str(train.item_names[item_num]),
        score,
        _rank(scored, item_num),
        shares,
        [*_metapaths(model, user_num, item_num), *_co_chosen(train, user_num, item_num)],
    )


def _rank(scored: Scored, item_num: int) -> int | None:
    unseen = np.ones(scored.total.shape[1], dtype=bool)
    unseen[scored.seen.indices] = False
    if not unseen[item_num]:
        return None
    return int((scored.total[0, unseen] > scored.total[0, item_num]).sum()) + 1


def _metapaths(model: HybridModel, user_num: int, item_num: int) -> list[Path]:
    """Return the strongest meta-paths from the user to the item, by their contribution to the signal's score."""
    signal = model.signals.get("metapaths")
    if not isinstance(signal, MetaPaths):
        return []
    parts, top = signal.contributions(user_num, item_num), slice(MAX_METAPATHS)
    total = float(parts.value.sum()) or 1.0
    strongest = zip(parts.path_num[top], parts.through[top], parts.value[top], strict=True)
    return [
        Path(_path_text(model.train, signal.paths[path], user_num, int(through), item_num), float(value) / total)
        for path, through, value in strongest
    ]


def _path_text(train: GraphSnapshot, path: MetaPath, user_num: int, through: int, item_num: int) -> str:
    user, item = train.users.ids[user_num], train.item_names[item_num]
    members = train.item_nodes if path.side == "items" else train.user_nodes
    a, b = (through, item_num) if path.side == "items" else (user_num, through)
    between = _segment_text(train, path, int(members[a]), int(members[b]))
    if path.side == "items":
        return f"user {user} – {train.item_names[through]}{between}{item}"
    return f"user {user}{between}user {train.users.ids[through]} – {item}"


def _segment_text(train: GraphSnapshot, path: MetaPath, a: int, b: int) -> str:
    """Return the relationships from node a to node b in words, with the rarest shared nodes between them."""
    # A pair of relationships may connect the nodes in either order.
    for edge_types in (path.edge_types, path.edge_types[::-1]):
        shared, half = shared_nodes(train, edge_types, a, b)[:MAX_SHARED_NODES], len(edge_types) // 2
        if len(shared):
            names = ", ".join(_node_names(train, shared))
            return f"{_type_names(edge_types[:half])}{names}{_type_names(edge_types[half:])}"
    return _type_names(path.edge_types)


def _type_names(edge_types: Sequence[EdgeType]) -> str:
    return f" –{'–'.join(edge_type[1] for edge_type in edge_types)}– "


def _node_names(train: GraphSnapshot, nodes: IntArray) -> list[str]:
    starts = np.array(list(train.offsets.values()))
    labels = list(train.offsets)
    at = np.searchsorted(starts, nodes, side="right") - 1
    return [str(train.names(labels[i])[int(node - starts[i])]) for i, node in zip(at, nodes, strict=True)]


def _co_chosen(train: GraphSnapshot, user_num: int, item_num: int) -> list[Path]:
    """Return paths over items of the history with the most users in common with the item, by cosine."""
    history = train.interactions[[user_num]].indices
    history = history[history != item_num]
    chosen = train.interactions[:, history].T @ train.interactions[:, [item_num]]
    both = np.asarray(chosen.toarray()).ravel()
    popularity = np.asarray(train.interactions.sum(axis=0)).ravel()
    cosine = both / np.sqrt(np.maximum(popularity[history] * popularity[item_num], 1))
    total = float(cosine.sum()) or 1.0
    user, item = train.users.ids[user_num], train.item_names[item_num]
    return [
        Path(f"user {user} – {train.item_names[history[i]]} – {int(both[i])} users – {item}", float(cosine[i]) / total)
        for i in np.argsort(-cosine, kind="stable")[:MAX_CO_CHOSEN]
        if cosine[i] > 0
    ]
