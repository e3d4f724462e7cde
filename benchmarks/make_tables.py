"""Write the tables of measured numbers into README.md and pages of docs/.

They are made from the files in benchmarks/results and from nothing else.

python benchmarks/make_tables.py            writes
python benchmarks/make_tables.py --check    fails if the pages say something else than the files
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frontier_picture import finished, frontier

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
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
            sys.exit(f"{page.name} and benchmarks/results differ; run: python benchmarks/make_tables.py")


def targets() -> str:
    """What kgrec reaches beside what it should, with every shortfall, and beside the best that was known."""
    found, rows = dict(results()), []
    for name, measure, needed, known in TARGETS:
        result = found.get(f"accuracy-{name}")
        domain, _, metric = measure.rpartition(" ")
        values = [] if result is None else [hybrid_of(seed["metrics"], domain)[metric] for seed in result["seeds"]]
        reached = statistics.mean(values) if values else float("nan")
        says = "not measured" if not values else "reached" if reached >= needed else f"short by {needed - reached:.4f}"
        kgrec = cell(reached, statistics.pstdev(values), len(values)) if values else "–"
        fit_on = re.search(r"--fit-on (\S+)", result["command"])[1] if result else "–"
        rows.append([name, fit_on, measure, kgrec, str(len(values)), f"{needed:.3f}", says, known])
    return table(["data", "fit on", "measure", "kgrec", "seeds", "at least", "", "best known before"], rows)


def hybrid_of(metrics: dict[str, Any], domain: str) -> dict[str, float]:
    return metrics["domains"][domain]["hybrid"] if domain else metrics["models"]["hybrid"]


def costs() -> str:
    """Seconds and memory of one seed of each data set."""
    rows = []
    for name, result in results():
        if name.startswith("accuracy-"):
            spent = [[seed["seconds"].get(stage, 0.0) for seed in result["seeds"]] for stage in STAGES]
            shown = [f"{statistics.median(seconds):.0f} s" for seconds in spent]
            cpu = [seed["cpu_seconds"] for seed in result["seeds"] if "cpu_seconds" in seed]
            in_all = f"{statistics.median(cpu):.0f} s" if cpu else ""
            rows.append([name.removeprefix("accuracy-"), *shown, in_all, f"{result['peak_memory_mb']} MB"])
    return table(["data", *STAGES, "CPU, all stages", "peak memory"], rows) if rows else NOT_YET


def peers() -> str:
    """One table a data set: every peer's best settings on the validation split, then kgrec."""
    found = dict(results())
    parts = [
        peers_of(name.removeprefix("peers-"), result, found) for name, result in found.items() if "peers" in result
    ]
    return "\n\n".join(parts) or NOT_YET


def peers_of(name: str, result: dict[str, Any], found: dict[str, Any]) -> str:
    measured = [peer for peer in result["peers"] if "metrics" in peer]
    rows = [
        [
            f"{peer['package']} {peer['version']}: {peer['model']}",
            *(f"{peer['metrics'][metric]:.4f}" for metric in SHOWN),
            "{:.4f}–{:.4f}".format(*peer["intervals"]["NDCG@20"]),
            f"{peer['choose_cpu_s'] + peer['fit_cpu_s']:.1f}",
            str(peer["peak_memory_mb"]),
        ]
        for peer in sorted(measured, key=lambda peer: peer["metrics"]["NDCG@20"])
    ]
    own = found.get(f"accuracy-{name}")
    if own:
        first = own["seeds"][0]["metrics"]
        values = [f"{first['models']['hybrid'][metric]:.4f}" for metric in SHOWN]
        interval = "{:.4f}–{:.4f}".format(*first["intervals"]["hybrid"]["NDCG@20"])
        rows.append(["**kgrec**, seed 0", *values, interval, "see above", str(own["peak_memory_mb"])])
    head = ["model", *SHOWN, "NDCG@20 95 %", "CPU s, choosing and fitting", "MB"]
    return f"**{name}**: `{result['command']}`; {result['protocol']}.\n\n{table(head, rows)}"


def against_cost() -> str:
    """Accuracy and CPU seconds of each system, the cheapest first, and where kgrec is not on the frontier."""
    if not (found := dict(results()).get("frontier")):
        return NOT_YET
    parts = [against_cost_of(name, of) for name, of in found["data"].items()]
    return "\n\n".join([*parts, f"By `{found['command']}`; {found['protocol']}."])


def against_cost_of(name: str, of_data: dict[str, Any]) -> str:
    on, systems = frontier(of_data), finished(of_data)
    rows = [
        [
            f"**{system}**" if of["package"] == "kgrec" else system,
            f"{of['package']} {of['version']}: {of['model']}",
            f"{of['cpu_s']:.1f}",
            *(f"{of['metrics'][metric]:.4f}" for metric in ("NDCG@20", "Recall@10", "Recall@20")),
            "{:.4f}–{:.4f}".format(*of["interval"]),
            "yes" if system in on else "no",
        ]
        for system, of in systems.items()
    ]
    head = ["system", "model", "CPU s", "NDCG@20", "Recall@10", "Recall@20", "NDCG@20 95 %", "on the frontier"]
    failed = [f"{system}: {of['error']}." for system, of in of_data["systems"].items() if "error" in of]
    return "\n\n".join([f"**{name}**", table(head, rows), " ".join([*off_frontier(on, systems), *failed])])


def off_frontier(on: list[str], systems: dict[str, Any]) -> list[str]:
    """Return sentences that say where kgrec is not on the frontier."""
    own = [system for system in systems if systems[system]["package"] == "kgrec"]
    if not own:
        return ["kgrec is not measured yet."]
    start, others = systems[own[0]]["cpu_s"], [system for system in on if system not in own]
    below = [system for system in others if systems[system]["cpu_s"] < start]
    said = [f"Not on the frontier: {system}." for system in own if system not in on]
    said += [f"{system} is on it although it costs more than {own[0]}." for system in others if system not in below]
    if below:
        best = systems[below[-1]]
        reached = f"{best['metrics']['NDCG@20']:.4f} in {best['cpu_s']:.1f} s"
        said += [
            f"Below {start:.1f} CPU s the frontier is {', '.join(below)}, with up to {reached}, and kgrec has no model."
        ]
    return said


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
    caption = f"**{name.removeprefix('accuracy-')}**: `{result['command']}`; {result['protocol']}."
    return f"{caption}\n\n{table(['model', *metrics], rows)}"


def tuning() -> str:
    """What fine-tuning the text model is worth to the text signal."""
    if not (result := dict(results()).get("tune")):
        return NOT_YET
    before, after, gain = result["as_it_is"], result["fine_tuned"], result["gain"]
    rows = [
        [domain, f"{value:.4f}", f"{after['test'][domain]:.4f}", f"{after['test'][domain] / value - 1:+.0%}"]
        for domain, value in before["test"].items()
    ]
    steps, seconds = result["losses_on_held_out_users"][-1][0], result["tuning_cpu_seconds"]
    took = f" in {seconds / 60:.0f} minutes of one core" if seconds else ""
    about = (
        f"`{result['command']}`: {result['model']}, {result['settings']['method']}, {steps} steps{took}; "
        f"{result['megabytes']} MB of weights in the run. {result['metric']} of all test users is "
        f"{gain['difference']:+.4f} ({gain['low']:+.4f} … {gain['high']:+.4f}), {gain['share']:+.1%}."
    )
    return table([f"{result['metric']}, test", "as it is", "fine-tuned", ""], rows) + f"\n\n{about}"


def serving() -> str:
    """Latencies of the service, and what swaps and kills did to it."""
    if not (found := dict(results()).get("serve")) or "routes" not in found:
        return NOT_YET
    routes = {name: of for name, of in found["routes"].items() if isinstance(of, dict)}
    rows = [[name, *latencies(of), f"{found['routes']['workers']}"] for name, of in routes.items()]
    said = [f"By `{found['command']}` on {found['machine']['cores']} cores, which the load generator shares."]
    if swaps := found.get("swaps"):
        rows += [["200 a second, quiet", *latencies(swaps["quiet"]), "1"]]
        rows += [[f"200 a second, {swaps['swaps']} releases swapped", *latencies(swaps["during"]), "1"]]
        said += [f"{swaps['mixed']} answers during the swaps mixed two releases."]
    if kills := found.get("kills"):
        said += [
            f"After {kills['intact']} of {kills['kills']} kills at random moments, each of the acknowledged events "
            f"({kills['acknowledged']:,} in all) was in the log once."
        ]
    head = ["requests", "per second", "p50 ms", "p90 ms", "p99 ms", "failed", "workers"]
    return f"{table(head, rows)}\n\n{' '.join(said)}"


def latencies(of: dict[str, Any]) -> list[str]:
    return [
        f"{of['per_second']:.0f}",
        *(f"{of[name]:.1f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
        str(of["failed"]),
    ]


def balance() -> str:
    """What each option against imbalance does to the text signal behind a tuned head."""
    if not (found := dict(results()).get("balance")):
        return NOT_YET
    metrics = list(found["options"]["none"])
    rows = [[name, *(f"{of[metric]:.4f}" for metric in metrics)] for name, of in found["options"].items()]
    return f"`{found['command']}`, {found['model']}:\n\n{table(['option', *metrics], rows)}"


def ablation() -> str:
    """What each signal is worth to the blend: a row for each signal, a column for each data set."""
    if not (found := dict(results()).get("ablation")):
        return NOT_YET
    data = found["data"]
    parts = list(dict.fromkeys(part for of in data.values() for part in of["without"]))
    rows = [[part, *(worth(of["without"].get(part)) for of in data.values())] for part in parts]
    rows += [
        ["*NDCG@20 of all*", *(f"{of['everything']['mean']:.4f}" for of in data.values())],
        ["*seeds · questions*", *(f"{of['seeds']} · {of['questions']:,}" for of in data.values())],
    ]
    useful = {
        part: [name for name, of in data.items() if of["without"].get(part, {}).get("low", 0) > 0] for part in parts
    }
    somewhere = "; ".join(f"{part} on {', '.join(names)}" for part, names in useful.items() if names)
    nowhere = ", ".join(part for part, names in useful.items() if not names)
    said = f"Worth more than 0 beyond noise: {somewhere}. Not beyond noise on any of these sets: {nowhere}."
    return f"{table(['without', *data], rows)}\n\n{said} By `{found['command']}`, {found['metric']}."


def worth(found: dict[str, float] | None) -> str:
    """Return a signal's worth with its interval, bold if that does not hold 0."""
    if found is None:
        return "–"
    shown = f"{found['worth']:+.4f} ({found['low']:+.4f} … {found['high']:+.4f})"
    return f"**{shown}**" if found["low"] > 0 or found["high"] < 0 else shown


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


def encode(result: dict[str, Any]) -> Iterator[list[str]]:
    speed = result["texts_per_second"]["kgrec"]
    yield [
        f"{result['texts']} texts encoded by {result['model']}",
        f"{speed:.0f} texts/s, {result['throughput_ratio']:.2f} × a bare transformers loop over length-sorted batches",
        f"`{result['command']}`",
    ]


def on_a_gpu() -> str:
    """What a GPU is worth to the network and to the text encoder."""
    found = dict(results())
    if not {"gnn_on_gpu", "encode_on_gpu"} <= set(found):
        return NOT_YET
    gnn, texts = found["gnn_on_gpu"], found["encode_on_gpu"]
    seconds, reached, speed = gnn["median_s"], gnn["NDCG@20"], texts["texts_per_second"]
    rows = [
        [
            "one fit of the graph network alone, defaults, without text, and scores of all users",
            f"{seconds['cuda']:.1f} s on {gnn['machine']['gpu']}, {seconds['cpu']:.1f} s on {gnn['machine']['cores']} "
            f"cores beside it; NDCG@20 {reached['cuda']:.4f} and {reached['cpu']:.4f}",
            f"`{gnn['command']}`",
        ],
        [
            f"{texts['texts']:,} texts encoded by {texts['model']} in {texts['precision']} precision",
            f"{speed['kgrec']:,.0f} texts/s on {texts['machine']['gpu']}, {texts['throughput_ratio']:.2f} × a bare "
            f"transformers loop over length-sorted batches of {texts['batch_size_of_the_loop']}",
            f"`{texts['command']}`",
        ],
    ]
    return table(["what", "measured", "command"], rows)


def multilingual() -> str:
    """What encoders make of two languages, and how fast they are."""
    found = dict(results()).get("multilingual")
    heads = ["encoder", "translations of 20", "by cosine, Recall@5 and @20 ÷ random", "learned, Recall@5 and @20"]
    rows = [
        [
            name,
            str(of["translations"]),
            " · ".join(f"{ratio:.2f}" for ratio in of["times_random"].values()),
            " · ".join(f"{recall:.4f}" for recall in of["learned"].values()),
            f"{of['texts_per_cpu_second']:,.0f}",
        ]
        for name, of in (found["encoders"].items() if found else ())
    ]
    done = table([*heads, "texts per CPU s"], rows)
    return f"`{found['command']}`; {found['protocol']}.\n\n{done}" if found else NOT_YET


def reranking() -> str:
    """What a second stage is worth on test, domain by domain."""
    found, rows = dict(results()).get("rerank"), []
    for domain, of in found["domains"].items() if found else ():
        for metric in ("NDCG@10", "HR@10"):
            first, second = of[metric]["first stage"], of[metric]["re-ranked"]
            gain, low, high = of[metric]["gain"]
            difference = f"{gain:+.4f} ({low:+.4f} … {high:+.4f})"
            weight = str(found["rerank"]["domains"][domain]["weight"])
            rows.append([domain, f"{of['questions']:,}", weight, metric, f"{first:.4f}", f"{second:.4f}", difference])
    heads = ["domain", "users", "weight", "test", "first stage", "re-ranked", "gain, 95 %"]
    return f"`{found['command']}`; {found['protocol']}.\n\n{table(heads, rows)}" if found else NOT_YET


def main_job(result: dict[str, Any]) -> Iterator[list[str]]:
    for name, what in (("demo_cold", "`kgrec demo` from an empty cache"), ("demo_warm", "again, with its cache")):
        found = result[name]
        measured = f"{found['wall_s']:.0f} s, {found['texts_encoded']} texts encoded, {found['peak_memory_mb']} MB"
        yield [what, measured, f"`{result['command']}`"]


def lists(result: dict[str, Any]) -> Iterator[list[str]]:
    one, everyone, shop = result["one_user"], result["all_users"], result["saved_shop"]
    for what, measured in (
        ("`recommend` for one user of MovieLens 100K, one thread", f"{one['median_ms']} ms of CPU, median"),
        (
            f"`recommend` for all {everyone['users']} users",
            f"{everyone['cpu_s']['lists']:.2f} CPU s, {everyone['ratio']:.2f} × the signals' own scores",
        ),
        ("`kgrec recommend` for two users, from start to end", f"{result['recommend_two_users_cpu_s']:.1f} CPU s"),
        (
            "saved model of a made-up shop: 5,000 customers, 3,000 products, 60,000 purchases",
            f"{shop['megabytes']:.0f} MB, loaded in {shop['load_cpu_s']:.1f} CPU s",
        ),
    ):
        yield [what, measured, f"`{result['command']}`"]


def scale(result: dict[str, Any]) -> Iterator[list[str]]:
    for name, job in result["jobs"].items():
        graph = ", ".join(f"{number:,} {what}" for what, number in job["shape"].items())
        names, steps = (", ".join(f"`{step}`" for step in job["steps"]), job["steps"].values())
        seconds = " + ".join(f"{step['cpu_s']:,.0f}" for step in steps)
        measured = f"{seconds} CPU s, {job['peak_memory_mb']:,} MB"
        effort = name.split()[-1]
        yield [f"{names} with the effort `{effort}`, made-up graph: {graph}", measured, f"`{result['command']}`"]


def epoch(result: dict[str, Any]) -> Iterator[list[str]]:
    kgrec, recbole = result["kgrec"]["epoch_cpu_s"], result["recbole"]["epoch_cpu_s"]
    yield [
        f"an epoch of the graph network: {result['graph']}, {result['dim']} dimensions, one thread",
        f"{kgrec:.1f} CPU s, 1/{recbole / kgrec:.0f} of RecBole's LightGCN ({recbole} CPU s, from 12 of its "
        f"{result['recbole']['batches']} batches)",
        f"`{result['command']}`",
    ]


def gnn_alone(result: dict[str, Any]) -> Iterator[list[str]]:
    peer, seconds = result["LightGCN"], statistics.median(result["fit_and_score_cpu_s"])
    yield [
        f"one fit of the graph network alone on {result['data']}, defaults, without text, one thread",
        f"NDCG@20 {result['NDCG@20']:.4f} in {seconds:.1f} CPU s; LightGCN {peer['NDCG@20']} in {peer['CPU s']}",
        f"`{result['command']}`",
    ]


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
            "read its behaviors out in columns",
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


def forgetting() -> str:
    """Seconds to forget, and what is left."""
    found, rows = dict(results()).get("forget"), []
    for role in ("user", "item") if found else ():
        of = found[role]
        rows.append(
            [
                role,
                f"{of['removed']['graph']['relationships']:,}",
                f"{of['seconds']:.0f}",
                f"{of['cpu_seconds']:.0f}",
                f"{of['searched']['files']} ({of['searched']['bytes'] / 1e6:.0f} MB)",
                f"{of['files_that_held_it']} → {of['files_that_hold_it']}",
            ]
        )
    header = ["forgotten", "relationships", "seconds", "of which processor", "files searched", "files that hold the id"]
    return table(header, rows) if rows else NOT_YET


def refreshing() -> str:
    """What a refresh, a publication and going back take, beside what they may."""
    if not (found := dict(results()).get("refresh")):
        return NOT_YET
    new, whole, nothing_new, lists = (found[name] for name in ("refresh", "full_rebuild", "nothing_new", "publish"))
    many = f"{lists['recommendations'] / 1e6:.1f}M recommendations of {lists['users']:,} users"
    many += f", vectors of {lists['items_with_vectors']:,} items"
    shares = [f"{found[f'refresh_share_of_rebuild_{kind}']:.1%}" for kind in ("wall", "cpu")]
    longest = max(lists[step]["longest_read_s"] for step in ("first", "second", "rollback"))
    rows = [
        [
            f"refresh of ml-1m-kg with {found['new_behaviors']:.0%} new behaviors ({new['mode']})",
            f"{new['wall_s']:.0f} s, a full rebuild {whole['wall_s']:.0f} s: {shares[0]} (processor {shares[1]})",
            "at most 10 %",
        ],
        ["its NDCG@20 against that of the rebuild", f"{found['ndcg_against_rebuild']:+.2%}", "within 1 %"],
        [f"refresh without new rows: {nothing_new['result']}", f"{nothing_new['wall_s']:.1f} s", "under 5 s"],
        [f"publish {many}", f"{max(lists[step]['wall_s'] for step in ('first', 'second')):.1f} s", "at most 10 s"],
        ["longest read of one who reads on meanwhile", f"{longest:.2f} s", "under 1 s"],
        ["roll back to the run before", f"{lists['rollback']['wall_s']:.1f} s", "under 5 s"],
    ]
    return table(["what", "measured", "needed"], rows) + f"\n\nBy `{found['command']}`."


def chaos() -> str:
    """What is found after kills."""
    if not (found := dict(results()).get("chaos")):
        return NOT_YET
    rows = [
        [
            engine,
            str(of["kills"]),
            str(of["kills"] - of["not_equal"] - of["failed"]),
            f"{of['reads']:,}",
            str(of["mixed"]),
            str(of["empty"]),
        ]
        for engine, of in found.items()
        if engine != "command"
    ]
    header = ["engine", "killed", "ended whole and equal", "reads meanwhile", "of them mixed", "empty"]
    return table(header, rows) + f"\n\nBy `{found['command']}`."


def cold_items() -> str:
    """How many of the withheld items that users took are found, by each way, and what that costs the others."""
    if not (found := dict(results()).get("cold_items")):
        return NOT_YET
    (recall, by_model), (ndcg, others) = [(name, found[name]) for name in found if "@" in name]
    rows = [[bold(name), f"{value:.4f}"] for name, value in sorted(by_model.items(), key=lambda pair: pair[1])]
    cost, low, high = (f"{share:+.1%}" for share in found["cost"])
    holdouts, with_new, without = found["users asked for withheld items"], others["with new items"], others["without"]
    parts = [
        f"`{found['command']}`; {found['protocol']}. {holdouts:,} users took a withheld item.",
        table(["model", recall], rows),
        f"{ndcg}: {with_new:.4f}, without scores of their own for new items {without:.4f}: {cost} ({low} … {high}).",
    ]
    return "\n\n".join(parts)


def two_domains() -> str:
    """What each domain gains by the other."""
    if not (found := dict(results()).get("two_domains")):
        return NOT_YET
    rows = []
    for domain, of in found["domains"].items():
        gain, low, high = (f"{share:+.1%}" for share in of["relative gain"])
        rows.append(
            [domain, f"{of['questions']:,}", f"{of['alone']:.4f}", f"{of['together']:.4f}", gain, f"{low} … {high}"]
        )
    head = [f"{found['metric']}, test", "users", "from it alone", "from both", "gain", "95 %"]
    return f"`{found['command']}`; {found['protocol']}.\n\n{table(head, rows)}"


def planted_leaks() -> str:
    """What the audit finds of what was planted."""
    if not (found := dict(results()).get("planted_leaks")):
        return NOT_YET
    rows = [
        ["leaks planted, one kind each", f"{found['found']} of {len(found['planted'])} found"],
        [f"{len(found['clean_runs'])} clean runs of all signals", f"{found['findings_in_clean_runs']} findings"],
    ]
    return table(["what", "measured"], rows) + f"\n\nBy `{found['command']}`: {'; '.join(found['planted'])}."


def nothing(result: dict[str, Any]) -> Iterator[list[str]]:
    return iter(())


def results() -> list[tuple[str, dict[str, Any]]]:
    return [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


SPEED = {
    "bulk_load": bulk_load,
    "top_k": top_k,
    "encode": encode,
    "main_job": main_job,
    "lists": lists,
    "scale": scale,
    "lightgcn_epoch": epoch,
    "gnn_alone": gnn_alone,
}
STAGES = ("encode", "choose", "blend", "check domains", "fit", "rank and measure")
TARGETS = (
    ("lastfm-kg", "Recall@10", 0.320, "AdaKG .3053"),
    ("lastfm-kg", "MRR@10", 0.145, "AdaKG .1398"),
    ("ml-100k", "NDCG@20", 0.458, "iALS .4488"),
    ("ml-1m-kg", "NDCG@20", 0.418, "EASE .4051"),
    ("ml-1m-kg", "Recall@20", 0.280, "EASE .2723"),
    ("amazon-beauty-seq", "HR@10", 0.108, "TIGER .0648"),
    ("amazon-beauty-seq", "NDCG@10", 0.067, "TIGER .0384"),
    ("amazon-art-office-warm", "art NDCG@10", 0.076, "ItemKNN + TF-IDF .0693"),
    ("amazon-art-office-warm", "office NDCG@10", 0.080, "ItemKNN + TF-IDF .0736"),
    ("amazon-art-office-cold", "HR@10", 0.270, "ItemKNN + TF-IDF + popularity .2420"),
    ("amazon-art-office-cold", "NDCG@10", 0.062, "ItemKNN + TF-IDF + popularity .0538"),
    ("tiktok", "Recall@20", 0.125, "DiffMM .1129"),
    ("tiktok", "NDCG@20", 0.053, "DiffMM .0456"),
    ("douban-book-social", "NDCG@10", 0.185, "TF-IDF neighbors .1671"),
    ("douban-book-social", "Recall@20", 0.198, "TF-IDF neighbors .1800"),
    ("cloth-sport", "cloth NDCG@10", 0.248, "BM25 neighbors .2369"),
    ("cloth-sport", "sport NDCG@10", 0.280, "BM25 neighbors .2675"),
    ("prescriptions", "Recall@5", 0.212, "SMGCN .2076"),
    ("prescriptions", "Recall@20", 0.480, "SMGCN .4689"),
)
"""Data, measure (after the domain, where there are several), what kgrec is to reach, and what was best before."""
TABLES = {
    "targets": targets,
    "costs": costs,
    "frontier": against_cost,
    "peers": peers,
    "accuracy": accuracy,
    "ablation": ablation,
    "tuning": tuning,
    "balance": balance,
    "speed": speed,
    "on_a_gpu": on_a_gpu,
    "reranking": reranking,
    "stores": stores,
    "forget": forgetting,
    "serving": serving,
    "refresh": refreshing,
    "chaos": chaos,
    "leaks": planted_leaks,
    "cold_items": cold_items,
    "two_domains": two_domains,
    "multilingual": multilingual,
}

if __name__ == "__main__":
    main()
