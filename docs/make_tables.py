"""Write the tables of measured numbers into README.md, from the files in benchmarks/results and from nothing else.

python docs/make_tables.py            writes
python docs/make_tables.py --check    fails if the README says something else than the files
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, README = ROOT / "benchmarks" / "results", ROOT / "README.md"
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)
SHOWN = ("NDCG@10", "NDCG@20", "Recall@10", "Recall@20", "MRR@20", "Coverage@20")
NOT_YET = "*Not measured yet.*"


def main() -> None:
    before = README.read_text(encoding="utf-8")
    after = PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}\n{place[3]}", before)
    if "--check" not in sys.argv:
        README.write_text(after, encoding="utf-8")
    elif before != after:
        sys.exit("README.md and benchmarks/results differ; run: python docs/make_tables.py")


def accuracy() -> str:
    """One table for each result of `kgrec benchmark`, models from the worst to the best."""
    return "\n\n".join(accuracy_of(name, result) for name, result in results() if "mean" in result) or NOT_YET


def accuracy_of(name: str, result: dict[str, Any]) -> str:
    mean, deviation = result["mean"], result["deviation"]
    metrics = [metric for metric in SHOWN if metric in mean["hybrid"]]
    ndcg = [metric for metric in mean["hybrid"] if metric.startswith("NDCG")][-1]
    rows = [
        [bold(model), *(cell(values[m], deviation[model][m], len(result["seeds"])) for m in metrics)]
        for model, values in sorted(mean.items(), key=lambda pair: pair[1][ndcg])
    ]
    caption = f"**{name}**: `{result['command']}`; {result['protocol']}."
    return f"{caption}\n\n{table(['model', *metrics], rows)}"


def cell(mean: float, deviation: float, n_seeds: int) -> str:
    return f"{mean:.4f}" + (f" ± {deviation:.4f}" if n_seeds > 1 else "")


def bold(model: str) -> str:
    return f"**{model}**" if model == "hybrid" else model


def speed() -> str:
    """One row a measurement."""
    rows = [row for name, result in results() for row in SPEED.get(name, nothing)(result)]
    return table(["what", "measured", "command"], rows) if rows else NOT_YET


def bulk_load(result: dict[str, Any]) -> Iterator[list[str]]:
    seconds = {side: found["wall_s"] for side, found in result["medians"].items()}
    yield [
        f"checked bulk load of {result['graph']}",
        f"{seconds['kgrec_write']:.1f} s, {result['write_to_raw_wall']:.2f} × the engine's own COPY",
        f"`{result['command']}`",
    ]
    yield ["snapshot of that graph", f"{seconds['kgrec_snapshot']:.1f} s", f"`{result['command']}`"]


def top_k(result: dict[str, Any]) -> Iterator[list[str]]:
    yield [
        f"exact top-{result['k']} of {result['users']:,} users × {result['items']:,} items, "
        f"{result['dim']} dimensions, without what each user has seen",
        f"{result['wall_seconds']['kgrec']:.1f} s, {result['wall_ratio']:.2f} × a bare matmul + topk in torch",
        f"`{result['command']}`",
    ]


def main_job(result: dict[str, Any]) -> Iterator[list[str]]:
    for name, what in (("demo_cold", "`kgrec demo` from an empty cache"), ("demo_warm", "again, with its cache")):
        found = result[name]
        measured = f"{found['wall_s']:.0f} s, {found['texts_encoded']} texts encoded, {found['peak_memory_mb']} MB"
        yield [what, measured, f"`{result['command']}`"]
    one = result["recommend_one_user"]
    yield ["`recommend` for one user of MovieLens 100K", f"{one['median_ms']} ms, median", f"`{result['command']}`"]


def nothing(result: dict[str, Any]) -> Iterator[list[str]]:
    return iter(())


def results() -> list[tuple[str, dict[str, Any]]]:
    return [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


SPEED = {"bulk_load": bulk_load, "top_k": top_k, "main_job": main_job}
TABLES = {"accuracy": accuracy, "speed": speed}

if __name__ == "__main__":
    main()
