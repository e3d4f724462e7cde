"""implicit: alternating least squares, Bayesian personalised ranking, item neighbors.

Hu, Koren & Volinsky (ICDM 2008); Rendle et al. (UAI 2009); Sarwar et al. (WWW 2001), with BM25 weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from task import SEED, BoolArray, IntArray, Lister, Model, Scores, Settings, main, padded


@dataclass(frozen=True)
class Factors:
    """A factor model, which ranks by itself; `user_items` is what it leaves out."""

    model: Any

    def lists(self, user_num: IntArray, seen: sp.csr_matrix, allowed: BoolArray, k: int) -> IntArray:
        """Rank with `recommend`, which fills short lists up with what was seen."""
        items = None if allowed.all() else np.flatnonzero(allowed)
        return padded(self.model.recommend(user_num, seen[user_num], N=k, items=items)[0], k)


def fit_factors(kind: type, train: sp.csr_matrix, settings: Settings) -> Lister:
    """Fit a factor model in one thread."""
    model = kind(**settings, num_threads=1, random_state=SEED)
    model.fit(train, show_progress=False)
    return Factors(model)


def fit_neighbors(kind: type, train: sp.csr_matrix, settings: Settings) -> Lister:
    """Fit item neighbors; items that nothing of a user's is near to are not listed.

    Their `recommend` takes what it leaves out for the user's taste too, so scores are made from train here.
    """
    model = kind(**settings, num_threads=1)
    model.fit(train, show_progress=False)

    def score(user_num: IntArray) -> np.ndarray:
        scores = (train[user_num] @ model.similarity).toarray()
        return np.where(scores > 0, scores, -np.inf)

    return Scores(score)


def als(factors: int) -> Model:
    weights = [{"alpha": 2.0, "regularization": 20.0}]
    weights += [{"alpha": a, "regularization": r} for a, r in [(2.0, 5.0), (10.0, 5.0), (10.0, 20.0), (10.0, 100.0)]]
    tried = [{"factors": factors, "iterations": 15, **weight} for weight in weights]
    return Model(lambda train, settings: fit_factors(AlternatingLeastSquares, train, settings), tried)


def als_one_setting() -> Model:
    return Model(als(64).fit, als(64).tried[:1])


def als_search(n: int, seed: int = SEED) -> Model:
    """Try n random settings."""
    rng = np.random.default_rng(seed)
    tried = [
        {
            "factors": int(rng.choice([32, 64, 96, 128])),
            "iterations": 15,
            "alpha": float(np.exp(rng.uniform(*np.log([0.5, 40])))),
            "regularization": float(np.exp(rng.uniform(*np.log([0.1, 200])))),
        }
        for _ in range(n)
    ]
    return Model(als(64).fit, tried)


def bpr() -> Model:
    names = ("iterations", "learning_rate", "regularization")
    grid = product((100, 300), (0.01, 0.005), (0.01, 0.001))
    tried = [{"factors": 64, **dict(zip(names, values, strict=True))} for values in grid]
    return Model(lambda train, settings: fit_factors(BayesianPersonalizedRanking, train, settings), tried)


def neighbors(kind: type) -> Model:
    tried = [{"K": k} for k in (20, 50, 100, 200)]
    return Model(lambda train, settings: fit_neighbors(kind, train, settings), tried)


MODELS = {
    "iALS 64": als(64),
    "iALS 128": als(128),
    "iALS 64, one setting": als_one_setting(),
    "iALS, the best of 20 random settings": als_search(20),
    "BPR 64": bpr(),
    "ItemKNN cosine": neighbors(CosineRecommender),
    "ItemKNN BM25": neighbors(BM25Recommender),
}

if __name__ == "__main__":
    main("implicit", MODELS)
