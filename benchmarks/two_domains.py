"""What a second domain is worth: kgrec fitted on both against kgrec fitted on the one that is asked for.

    python benchmarks/two_domains.py DATA [--seed 0]

DATA is a folder of atomic files with a column `domain`, such as amazon-art-office/warm. Both learn from train and
valid, with defaults; settings are chosen on valid. The gain is the mean difference of a user's NDCG@10 on the same test
rows, with its 95 % interval by bootstrap over users. Writes benchmarks/results/two_domains.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.evaluation.evaluate import measure
from kgrec.evaluation.measured import Measured
from kgrec.hybrid.model import HYBRID
from kgrec.jobs.benchmark import PROTOCOL, peak_memory_mb
from kgrec.jobs.evaluate import SINGLE_DOMAIN_HYBRID, add_single_domain
from kgrec.metrics.significance import paired_test
from kgrec.recommender import Recommender
from kgrec.store.load import load

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "two_domains.json"
METRIC = "NDCG@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start, config = time.perf_counter(), Config(seed=arguments.seed)
    split = by_given(GraphSnapshot.from_tables(load("atomic", arguments.data)))
    model = Recommender(config).fit(split)
    both = measure(model._model, split, [10])
    result = {
        "command": f"python benchmarks/two_domains.py {arguments.data.name} --seed {arguments.seed}",
        "protocol": f"fit on train+valid; settings chosen on valid; {PROTOCOL}",
        "metric": METRIC,
        "domains": {d: of_domain(found, config.seed) for d, found in add_single_domain(both, split, config).items()},
        "checked": model._trained.choices.get("domains", {}),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["domains"], indent=1))


def of_domain(found: Measured, seed: int) -> dict[str, Any]:
    together, only = (found.evaluations[name].per_user[METRIC] for name in (HYBRID, SINGLE_DOMAIN_HYBRID))
    test, base = paired_test(together, only, seed), float(only.mean())
    return {
        "questions": len(only),
        "alone": base,
        "together": float(together.mean()),
        "gain": [test.difference, test.low, test.high],
        "relative gain": [test.difference / base, test.low / base, test.high / base],
    }


if __name__ == "__main__":
    main()
