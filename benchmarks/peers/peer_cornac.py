"""Cornac: Bayesian personalised ranking (Rendle et al., UAI 2009) and EASE (Steck, WWW 2019)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import product

import numpy as np
import scipy.sparse as sp
from cornac.data import Dataset
from cornac.models import BPR, EASE, Recommender
from task import SEED, IntArray, Lister, Model, Scores, Settings, main, pairs


def fit(make: Callable[[Settings], Recommender], train: sp.csr_matrix, settings: Settings) -> Lister:
    """Fit, with users and items under their own numbers."""
    users, items = (OrderedDict((num, num) for num in range(n)) for n in train.shape)
    rows = [(user, item, 1.0) for user, item in pairs(train).tolist()]
    model = make(settings).fit(Dataset.build(rows, global_uid_map=users, global_iid_map=items, seed=SEED))

    def score(user_num: IntArray) -> np.ndarray:
        return np.stack([np.ravel(model.score(user)) for user in user_num.tolist()])

    return Scores(score)


def bpr() -> Model:
    """Try the package's own step, and larger ones, with which 300 rounds are enough."""
    steps = [(0.001, 100), *product((0.01, 0.05), (100, 300))]
    tried = [{"k": 64, "max_iter": n, "learning_rate": step, "lambda_reg": 0.01} for step, n in steps]
    return Model(lambda train, s: fit(lambda s: BPR(**s, num_threads=1, seed=SEED), train, s), tried)


def ease() -> Model:
    """Try with and without weights below 0; the package leaves them out by default."""
    tried = [{"lamb": lamb, "posB": positive} for lamb, positive in product((50, 200, 500, 1000), (True, False))]
    return Model(lambda train, s: fit(lambda s: EASE(**s, verbose=False), train, s), tried)


MODELS = {"BPR 64": bpr(), "EASE": ease()}

if __name__ == "__main__":
    main("cornac", MODELS)
