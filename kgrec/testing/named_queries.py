"""Parameters of the named queries in tests, on the small graph of films."""

from __future__ import annotations

import numpy as np
import pandas as pd

PARAMETERS = {
    "bridging_items": {"property": "occupation", "one": "writer", "other": "farmer"},
    "co_liked": {"item": "f2"},
    "cold_items": {"most": 12},
    "cold_users": {"most": 9},
    "connecting_items": {"one": "Western", "other": "p.21"},
    "daring_recommendations": {"most": 10},
    "popular_in_segment": {"property": "occupation", "value": "writer"},
    "recommended": {"user": "u1"},
    "recommended_to": {"item": "f1"},
    "shared_items": {"user": "u1", "other": "u4"},
    "shared_tastes": {"user": "u1", "other": "u4"},
    "items_sharing_nodes": {"item": "f2"},
    "users_sharing_items": {"user": "u1"},
    "user_neighborhood": {"user": "u1"},
    "user_taste": {"user": "u1"},
    "why_item": {"user": "u1", "item": "f2"},
    "why_item_by_users": {"user": "u1", "item": "f2"},
}
"""Named query → its parameters; queries without parameters are left out."""


def recommendations() -> pd.DataFrame:
    """Return three recommendations per user, with made-up items and shares."""
    pairs = [(f"u{u}", f"f{1 + (u * 7 + rank * 5) % 72}", rank) for u in range(1, 91) for rank in (1, 2, 3)]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id", "rank"])
    shares = np.random.default_rng(0).random((len(frame), 3))
    frame[["graph", "cf", "content"]] = shares
    return frame.assign(score=shares.sum(axis=1))
