"""RecTools: popularity, item neighbors, EASE (Steck, WWW 2019) and PureSVD (Cremonesi et al., RecSys 2010).

Its EASE, in 0.19.0, multiplies by the transposed weights, which costs it accuracy; it is measured as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from implicit.nearest_neighbours import CosineRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, ImplicitItemKNNWrapperModel, PopularModel, PureSVDModel
from rectools.models.base import ModelBase
from task import BoolArray, IntArray, Lister, Model, Settings, main, pairs


@dataclass(frozen=True)
class Fitted:
    """A model with the data it learned from, which it asks for again when it ranks, and each user's number of items."""

    model: ModelBase
    data: Dataset
    n_items: IntArray

    def lists(self, user_num: IntArray, seen: sp.csr_matrix, allowed: BoolArray, k: int) -> IntArray:
        """Rank with `recommend`, which leaves out train only; longer lists make up for what is seen besides."""
        known = user_num[np.isin(user_num, self.data.user_id_map.external_ids)]
        items = self.data.item_id_map.external_ids
        besides = np.diff(seen.indptr) - self.n_items
        found = self.model.recommend(
            users=known,
            dataset=self.data,
            k=k + int(besides.max()),
            filter_viewed=True,
            items_to_recommend=items[allowed[items]],
        )
        lists = np.full((len(user_num), found[Columns.Rank].max()), -1)
        lists[np.searchsorted(user_num, found[Columns.User]), found[Columns.Rank] - 1] = found[Columns.Item]
        return lists


def fit(make: Callable[[Settings], ModelBase], train: sp.csr_matrix, settings: Settings) -> Lister:
    """Fit on a table; there is no time in it, so every row has the same."""
    rows = pd.DataFrame(pairs(train), columns=[Columns.User, Columns.Item])
    data = Dataset.construct(rows.assign(**{Columns.Weight: 1.0, Columns.Datetime: pd.Timestamp(0)}))
    return Fitted(make(settings).fit(data), data, np.diff(train.indptr))


def neighbors(settings: Settings) -> ModelBase:
    return ImplicitItemKNNWrapperModel(CosineRecommender(**settings, num_threads=1))


def ease(settings: Settings) -> ModelBase:
    return EASEModel(**settings, recommend_n_threads=1)


def pure_svd(settings: Settings) -> ModelBase:
    # Without a seed: scipy refuses the kind of seed that it is given here. Only signs of factors depend on it.
    return PureSVDModel(**settings, recommend_n_threads=1)


def popular(settings: Settings) -> ModelBase:
    return PopularModel()


MODELS = {
    "Popular": Model(lambda train, s: fit(popular, train, s), [{}]),
    "ItemKNN cosine": Model(lambda train, s: fit(neighbors, train, s), [{"K": k} for k in (20, 50, 100, 200)]),
    "EASE": Model(lambda train, s: fit(ease, train, s), [{"regularization": r} for r in (50.0, 200.0, 500.0, 1000.0)]),
    "PureSVD": Model(lambda train, s: fit(pure_svd, train, s), [{"factors": n} for n in (10, 32, 64)]),
}

if __name__ == "__main__":
    main("rectools", MODELS)
