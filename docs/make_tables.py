"""Write the tables of measured numbers into README.md and docs/stores.md.

They are made from the files in benchmarks/results and from nothing else.

python docs/make_tables.py            writes
python docs/make_tables.py --check    fails if the pages say something else than the files
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGES = ROOT / "benchmarks" / "results", (ROOT / "README.md", ROOT / "docs" / "stores.md")
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)
SHOWN = ("NDCG@10", "NDCG@20", "Recall@10", "Recall@20", "MRR@20", "Coverage@20")
NOT_YET = "*Not measured yet.*"


def main() -> None:
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}\n{place[3]}", before)
        if "--check" not in sys.argv:
            page.write_text(after, encoding="utf-8")
        elif before != after:
            sys.exit(f"{page.name} and benchmarks/results differ; run: python docs/make_tables.py")


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


def stores() -> str:
    """What each engine takes for the same work, beside the best that the engine gives by hand."""
    found = dict(results())
    if not {"server_graph", "rdf_graph", "bulk_load"} <= set(found):
        return NOT_YET
    server, rdf, embedded = found["server_graph"], found["rdf_graph"], found["bulk_load"]
    seconds, triples = server["wall_s"], f"{rdf['triples'] / 1e6:.1f}M triples"
    rows = [
        [
            f"write {server['graph']}, checked",
            f"ladybug {seconds['embedded_write']:.1f} s · Neo4j {seconds['kgrec_write']:.1f} s, "
            f"{server['write_to_hand']:.2f} × a hand-written loop of `UNWIND` batches "
            f"({seconds['by_hand_write']:.1f} s)",
            f"`{server['command']}`",
        ],
        [
            "read its behaviours out in columns",
            f"Neo4j {seconds['kgrec_read']:.1f} s, {server['read_to_hand']:.2f} × the best hand-written read "
            f"({seconds['by_hand_read']:.1f} s)",
            f"`{server['command']}`",
        ],
        [
            "snapshot of it",
            f"ladybug {seconds['embedded_snapshot']:.1f} s · Neo4j {seconds['kgrec_snapshot']:.1f} s",
            f"`{server['command']}`",
        ],
        [
            f"load an N-Triples file of {triples}, checked",
            f"oxigraph {rdf['wall_s']['kgrec_load']:.1f} s, {rdf['load_to_bulk_load']:.2f} × pyoxigraph's own bulk "
            f"load ({rdf['wall_s']['bulk_load']:.1f} s)",
            f"`{rdf['command']}`",
        ],
        [f"snapshot of {triples}", f"oxigraph {rdf['wall_s']['kgrec_snapshot']:.1f} s", f"`{rdf['command']}`"],
        [
            f"write {embedded['graph']}, checked",
            f"ladybug {embedded['medians']['kgrec_write']['wall_s']:.1f} s, "
            f"{embedded['write_to_raw_wall']:.2f} × its COPY",
            f"`{embedded['command']}`",
        ],
    ]
    if "ml-1m-kg" in rdf:
        films = rdf["ml-1m-kg"]
        engines = [name for name in films if name not in ("triples", "equal")]
        loads = " · ".join(f"{name} {films[name]['load_s']:.1f} s" for name in engines)
        rows.append(
            [
                f"load MovieLens 1M with DBpedia, {films['triples'] / 1e6:.1f}M triples, from RDF files",
                f"{loads}; digests {'equal' if films['equal'] else 'DIFFERENT'}",
                f"`{rdf['command']}`",
            ]
        )
    return table(["what", "measured", "command"], rows)


def nothing(result: dict[str, Any]) -> Iterator[list[str]]:
    return iter(())


def results() -> list[tuple[str, dict[str, Any]]]:
    return [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


SPEED = {"bulk_load": bulk_load, "top_k": top_k, "main_job": main_job}
TABLES = {"accuracy": accuracy, "speed": speed, "stores": stores}

if __name__ == "__main__":
    main()
