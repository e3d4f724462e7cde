"""Routes for what the graph holds: items, similar items, users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UnknownItem, UnknownUser
from kgrec.ranking.conditions import parse_conditions
from kgrec.ranking.frames import known_nums
from kgrec.serve.models import Item, ListQuery, SimilarItem, SimilarItems, User
from kgrec.serve.service import PathId, Reader

router = APIRouter(prefix="/v1", tags=["catalog"])

LATEST_ITEMS = 20
"""Latest items of a user that are shown."""


@router.get("/items/{item_id}/similar")
def similar_items(service: Reader, item_id: PathId, given: Annotated[ListQuery, Query()]) -> SimilarItems:
    """List the items that are most similar to an item."""
    release = service.live
    frame = release.model.similar_items(
        [item_id],
        given.k,
        domain=given.domain,
        where=parse_conditions(given.where),
        exclude=given.exclude or None,
        names=True,
    )
    rows = zip(frame["similar_item_id"], frame["similar_name"], frame["rank"], frame["score"], strict=True)
    items = [SimilarItem(item_id=str(id_), name=name, rank=rank, score=score) for id_, name, rank, score in rows]
    return SimilarItems(release=release.name, items=items)


@router.get("/items/{item_id}")
def item(service: Reader, item_id: PathId) -> Item:
    """Return an item with its properties."""
    release, train = service.live, service.live.train
    num = int(known_nums(train.items, [item_id], UnknownItem, "Expected an item of the release.")[0])
    label, properties = _node(train, train.schema.roles.items, num)
    return Item(
        release=release.name,
        item_id=item_id,
        name=str(train.item_names[num]),
        label=label,
        domain=str(train.item_domains[num]),
        users=int(release.model._model.popularity[num]),
        properties=properties,
    )


@router.get("/users/{user_id}")
def user(service: Reader, user_id: PathId) -> User:
    """Return a user with their properties and latest items."""
    release, train = service.live, service.live.train
    num = int(known_nums(train.users, [user_id], UnknownUser, "Expected a user of the release.")[0])
    label, properties = _node(train, train.schema.roles.users, num)
    person, behaviors = train.linked_users[num], train.behaviors
    own = np.flatnonzero(behaviors.user_num == person)
    newest = behaviors.item_num[own[np.argsort(-behaviors.time[own], kind="stable")]]
    latest = list(dict.fromkeys(train.items.ids[newest].tolist()))
    return User(
        release=release.name,
        user_id=user_id,
        label=label,
        properties=properties,
        interactions=len(latest),
        latest=latest[:LATEST_ITEMS],
        events=len(service.events.of(user_id)),
    )


def _node(train: GraphSnapshot, labels: tuple[str, ...], num: int) -> tuple[str, dict[str, Any]]:
    """Return label and properties of the node with a number among those of some labels."""
    for label in train.present(labels):
        table = train.nodes[label]
        if num < table.num_rows:
            row = table.slice(num, 1).to_pylist()[0]
            kept = {k: v for k, v in row.items() if k != train.schema.nodes[label].key and v is not None}
            return label, {name: _plain(value) for name, value in kept.items()}
        num -= table.num_rows
    raise IndexError(num)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
