"""Groups of users and items: each beside popularity, and a warning where the hybrid is worse."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec._util.notices import DataNotice
from kgrec.evaluation.groups import group_metrics, groups_table, warn_of_worse_groups
from kgrec.evaluation.measured import Measured
from kgrec.metrics.ranking import NDCG_AT_20
from kgrec.ranking.top_k import Ranking

N = 120


def measured(new_are_served: bool) -> Measured:
    """Half of the users are new; the hybrid finds the item of the others, and of the new ones only if told so."""
    new = np.arange(N) < N // 2
    wanted = np.where(new, 0, 1)
    relevant = sp.csr_matrix((np.ones(N, np.float32), (np.arange(N), wanted)), shape=(N, 3))
    found = np.where(new & (not new_are_served), 2, wanted)[:, None]
    rankings = {
        "hybrid": Ranking(found, np.ones((N, 1), np.float32)),
        "popularity": Ranking(np.zeros((N, 1), np.int64), np.ones((N, 1), np.float32)),
    }
    return Measured(np.arange(N), relevant, np.where(new, 0, 7), np.array([9, 1, 0]), rankings, {})


def test_groups_hold_the_metric_of_their_members() -> None:
    groups = group_metrics({"Item": measured(new_are_served=False)}, NDCG_AT_20)
    assert {name: (of["hybrid"], of["popularity"], of["users"]) for name, of in groups.items()} == {
        "users of 0 behaviors": (0, 1, N // 2),
        "users of 5+ behaviors": (1, 0, N // 2),
        "items of 1 behaviors": (1, 0, N // 2),
        "items of 5+ behaviors": (0, 1, N // 2),
    }
    table = groups_table({"groups": groups, "models": {"hybrid": {"NDCG@20": 0.5}}})
    assert table["NDCG@20 popularity"].tolist() == [1, 0, 0, 1]


def test_group_worse_than_popularity_warns_in_one_line() -> None:
    groups = group_metrics({"Item": measured(new_are_served=False)}, NDCG_AT_20)
    with pytest.warns(
        DataNotice, match=r"^worse than popularity: users of 0 behaviors \(0\.0000, by popularity 1"
    ) as told:
        warn_of_worse_groups(groups)
    assert len(told) == 1


def test_groups_served_well_warn_of_nothing() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_worse_groups(group_metrics({"Item": measured(new_are_served=True)}, NDCG_AT_20))
    assert told == []


def test_groups_need_popularity() -> None:
    of = measured(new_are_served=True)
    alone = Measured(of.user_num, of.relevant, of.n_of_user, of.n_of_item, {"hybrid": of.rankings["hybrid"]}, {})
    assert group_metrics({"Item": alone}, NDCG_AT_20) == {}
