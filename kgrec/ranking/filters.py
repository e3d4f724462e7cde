"""Item filters: restrict recommendations by id, property and domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kgrec._util.types import BoolArray
from kgrec.data.id_map import as_ids
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UnknownItem, UsageError, near_matches
from kgrec.ranking.conditions import Ranges, is_one_of, is_within, values_or_ranges


def item_filter(
    snapshot: GraphSnapshot,
    items: Iterable[object] | None = None,
    exclude: Iterable[object] | None = None,
    where: Mapping[str, object] | None = None,
    domain: str | None = None,
) -> BoolArray:
    """Return which items may be recommended, bool [n_items].

    Args:
        snapshot: the graph of the items.
        items: the ids to choose from; None: all items.
        exclude: the ids to leave out.
        where: item property → value, list of values, or range (`{">=": 10, "<": 20}`, `{"between": [10, 20]}`). An
            item must meet all conditions; a property that is a list must contain one of the values. An item without
            the property is left out.
        domain: the domain of the items; None: all domains.

    Raises:
        UnknownItem: an id is not an item of the graph.
        UsageError: a property or the domain is unknown, a value is not of the property's type, a condition is
            malformed, or `items` or `exclude` is a single id instead of a list.
    """
    allowed = np.ones(snapshot.n_items, dtype=bool)
    if items is not None:
        allowed &= _marked(snapshot, as_ids(items, "items"))
    if exclude is not None:
        allowed &= ~_marked(snapshot, as_ids(exclude, "exclude"))
    if where is not None and not isinstance(where, Mapping):
        raise UsageError(
            f"where is a {type(where).__name__}. Expected item properties and conditions: {{'price': {{'<': 20}}}}"
        )
    if domain is not None:
        allowed &= _in_domain(snapshot, domain)
    for name, wanted in (where or {}).items():
        allowed &= _having(snapshot, name, *values_or_ranges(name, wanted))
    return allowed


def _in_domain(snapshot: GraphSnapshot, domain: str) -> BoolArray:
    domains, roles = snapshot.item_domains, snapshot.schema.roles
    if domain not in domains and domain in roles.items and not roles.domain:
        raise UsageError(f"no items in domain {domain!r}. Load some, then run fold_in(graph) or fit again")
    if domain not in domains:
        raise UsageError(f"unknown domain {domain!r}. Expected one of {', '.join(sorted(set(domains)))}")
    return np.asarray(domains == domain)


def _marked(snapshot: GraphSnapshot, wanted: Sequence[str]) -> BoolArray:
    nums = snapshot.items.nums(wanted)
    if (nums < 0).any():
        missing = [id_ for id_, num in zip(wanted, nums, strict=True) if num < 0]
        raise UnknownItem(missing, snapshot.items.ids, "Name items of the graph the model was fitted on.")
    marked = np.zeros(snapshot.n_items, dtype=bool)
    marked[nums] = True
    return marked


def _having(snapshot: GraphSnapshot, name: str, values: list[object], ranges: Ranges) -> BoolArray:
    labels = snapshot.present(snapshot.schema.roles.items)
    known = {p for label in labels for p in snapshot.schema.nodes[label].properties}
    if name not in known:
        if not known:
            raise UsageError(
                f"unknown item property {name!r}: the items have no properties. Load some, or leave it out"
            )
        near = near_matches(name, known)
        raise UsageError(f"unknown item property {name!r}. Expected one of {', '.join(sorted(known))}{near}")
    return np.concatenate([_label_having(snapshot, label, name, values, ranges) for label in labels])


def _label_having(snapshot: GraphSnapshot, label: str, name: str, values: list[object], ranges: Ranges) -> BoolArray:
    table, kind = snapshot.nodes[label], snapshot.schema.nodes[label].properties.get(name)
    if kind is None:
        return np.zeros(table.num_rows, dtype=bool)
    column = table.column(name)
    return is_within(column, kind, name, ranges) if ranges else is_one_of(column, kind, name, values)
