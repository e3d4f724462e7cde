"""LightFM with the WARP loss (Kula 2015; Weston, Bengio & Usunier, IJCAI 2011), from the fork that is kept up."""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy.sparse as sp
from lightfm import LightFM
from task import SEED, IntArray, Lister, Model, Scores, Settings, main


def fit(train: sp.csr_matrix, settings: Settings) -> Lister:
    """Fit in one thread, and score with the vectors as `predict` does."""
    model = LightFM(settings["no_components"], loss="warp", learning_rate=settings["learning_rate"], random_state=SEED)
    model.fit(train.tocoo(), epochs=settings["epochs"], num_threads=1)
    (user_bias, users), (item_bias, items) = model.get_user_representations(), model.get_item_representations()

    def score(user_num: IntArray) -> np.ndarray:
        return users[user_num] @ items.T + user_bias[user_num, None] + item_bias

    return Scores(score)


GRID = product((0.02, 0.05), (10, 30, 60, 120))
MODELS = {"WARP 64": Model(fit, [{"no_components": 64, "learning_rate": lr, "epochs": epochs} for lr, epochs in GRID])}

if __name__ == "__main__":
    main("lightfm-next", MODELS)
