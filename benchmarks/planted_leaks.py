"""Does the audit find what a run must not know? Leaks planted in one stage each, and runs without any.

python benchmarks/planted_leaks.py     writes benchmarks/results/planted_leaks.json

Each run is trained on a made-up graph and audited from its folder. `kgrec.testing.planted_leaks` says for each leak in
which stages it must show; it counts as found if it shows in all of them.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from kgrec.config import Config
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import two_communities
from kgrec.testing.planted_leaks import PLANTED_IN_DATA, PLANTS, audited
from kgrec.text import encoder_pair

RESULT = Path(__file__).parent / "results" / "planted_leaks.json"
SIGNALS = Config().signals
SIMPLE = ("popularity", "ease")


def main() -> None:
    encoder_pair.encoder_of = lambda *_, **__: WordEncoder()  # texts become vectors by their words: no model is needed
    start = time.perf_counter()
    planted = {name: found(stages, signals, plant) for name, (plant, signals, stages) in PLANTS.items()}
    for name, (change, stage) in PLANTED_IN_DATA.items():
        planted[name] = found({stage}, SIMPLE, tables=change(two_communities(seed=1))[0])
    clean = {
        f"{split}, seed {seed}": len(audit(SIGNALS, tables=two_communities(seed=seed), split=split))
        for split in ("given", "random", "time", "last")
        for seed in (1, 2)
    }
    result = {
        "command": "python benchmarks/planted_leaks.py",
        "planted": planted,
        "found": sum(of["found"] for of in planted.values()),
        "clean_runs": clean,
        "findings_in_clean_runs": sum(clean.values()),
        "seconds": round(time.perf_counter() - start),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def found(stages: set[str], signals: tuple[str, ...], *plant: Callable[..., None], **options: Any) -> dict[str, Any]:
    """Say whether a leak shows in all stages that it must show in, and where it does, with how many rows."""
    rows = audit(signals, *plant, **options)
    return {"found": stages <= set(rows["stage"]), **rows["stage"].value_counts().sort_index().to_dict()}


def audit(signals: tuple[str, ...], *plant: Callable[..., None], **options: Any) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as place:
        return audited(Path(place), signals, *plant, **options)


if __name__ == "__main__":
    main()
