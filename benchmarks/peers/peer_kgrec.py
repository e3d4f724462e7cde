"""kgrec with defaults, as a peer among its peers: FOLDER OUT_FOLDER EFFORT.

FOLDER has atomic files with a fixed split; the answer is that of task.py.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np
from task import K, peak_memory_mb

from kgrec.config import Effort
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.evaluation.evaluate import measure
from kgrec.recommender import Recommender
from kgrec.store.load import load


def main() -> None:
    folder, out, effort = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    assert effort in get_args(Effort)
    split = by_given(GraphSnapshot.from_tables(load("atomic", folder)))
    fitted = Recommender(effort=effort, seed=0).fit(split, fit_on="train")
    users = np.unique(split.test.user_num)
    measured = measure(fitted._model, split, [K], single_signals=False)
    lists = np.full((len(measured), len(users), K), -1, dtype=np.int32)
    for own, (_, domain) in zip(lists, sorted(measured.items()), strict=True):
        ranked = domain.rankings["hybrid"].item_num
        own[np.searchsorted(users, domain.user_num), : ranked.shape[1]] = ranked
    np.save(out / "lists.npy", lists)
    facts = {
        "version": version("kgrec"),
        "model": effort,
        "stages_cpu_s": fitted._trained.choices["cpu_seconds"],
        "peak_memory_mb": peak_memory_mb(),
    }
    (out / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
