"""kgrec's peers, each from its own package in its own environment, scored by kgrec's evaluator under its protocol.

    python benchmarks/peers/run.py FOLDER [--fit-on train|train+valid] [--only NAMES] [--skip NAMES] [--again]

FOLDER has atomic files with a fixed split, as for `kgrec benchmark`: full ranking within each domain, without what is
in the user's train or valid. A peer chooses its settings on valid, or on a random cut of train where there is none, and
learns from everything then, as kgrec does. Peers run one after the other in one thread each. A peer that has metrics in
benchmarks/results/peers-FOLDER.json already is not run again, unless with --again.

NAMES are packages or models. Above some 20,000 items leave out EASE, which inverts a matrix of items × items.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

import kgrec
from kgrec.data.snapshot import GraphSnapshot, IntArray
from kgrec.data.split import Split, by_given, by_random
from kgrec.jobs.benchmark import PROTOCOL
from kgrec.metrics.ranking import Evaluation, evaluate
from kgrec.metrics.significance import bootstrap_interval
from kgrec.ranking.top_k import Ranking

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BUILD, RESULTS = ROOT / "build" / "peers", ROOT / "benchmarks" / "results"
KS = (10, 20)
PEERS = {
    "implicit": ("iALS 64", "iALS 128", "BPR 64", "ItemKNN cosine", "ItemKNN BM25"),
    "lightfm-next": ("WARP 64",),
    "cornac": ("BPR 64", "EASE"),
    "rectools": ("Popular", "ItemKNN cosine", "EASE", "PureSVD"),
    "recbole": ("LightGCN 64", "BPR 64", "MultiVAE", "EASE", "KGIN 64"),
}
WITH_KNOWLEDGE = ("KGIN 64",)
NAMES = "packages or models, with commas between them"


@dataclass(frozen=True)
class Question:
    """What every peer is asked, and what its answers are measured by.

    Attributes:
        split: the graph cut in three.
        valid: CSR [users, items], what settings are chosen on.
        train: CSR [users, items], what is learned from.
        user_num: int64 [n], the users with a test row.
        domains: names, in the order of the lists.
    """

    split: Split
    valid: sp.csr_matrix
    train: sp.csr_matrix
    user_num: IntArray
    domains: list[str]

    @classmethod
    def of(cls, split: Split, fit_on: str) -> Question:
        """Ask about all users with a test row."""
        cut = split.valid if split.is_valid.any() else by_random(split.train, seed=0).test
        train = (split.train if fit_on == "train" else split.train_and_valid).interactions
        user_num = np.unique(split.test.user_num)
        return cls(split, split.graph.pairs(cut), train, user_num, sorted(set(split.graph.item_domains)))

    def allowed(self) -> Iterator[npt.NDArray[np.bool_]]:
        """Yield each domain as a mask of its items."""
        for domain in self.domains:
            yield np.asarray(self.split.graph.item_domains == domain)


def main() -> None:
    options = parse()
    split = by_given(load(options.folder))
    question = Question.of(split, options.fit_on)
    out = RESULTS / f"peers-{options.folder.name}.json"
    result = begin(out, options, split)
    with tempfile.TemporaryDirectory() as place:
        task = Path(place)
        knowledge = write_task(task, question, options.folder)
        for package, model in wanted(options, knowledge):
            before = [peer for peer in result["peers"] if (peer["package"], peer["model"]) == (package, model)]
            if before and "metrics" in before[0] and not options.again:
                continue
            found = {"package": package, "model": model, **attempt(package, model, task, question)}
            result["peers"] = [peer for peer in result["peers"] if peer not in before] + [found]
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(package, model, found.get("error") or found["metrics"], flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fit-on", choices=("train", "train+valid"), default="train")
    for name, what in (("--only", "run no others"), ("--skip", "do not run these")):
        parser.add_argument(name, type=lambda text: set(text.split(",")), default=set(), help=f"{what}: {NAMES}")
    parser.add_argument("--again", action="store_true", help="run also what has a result")
    return parser.parse_args()


def load(folder: Path) -> GraphSnapshot:
    with tempfile.TemporaryDirectory() as place, kgrec.open(Path(place) / "peers.lbug", create=True) as graph:
        kgrec.load("atomic", folder, into=graph)
        return graph.snapshot()


def begin(out: Path, options: argparse.Namespace, split: Split) -> dict[str, Any]:
    """Return the result so far; one of another protocol is begun anew."""
    chosen_on = "valid" if split.is_valid.any() else "a random cut of train"
    result = {
        "command": f"python benchmarks/peers/run.py {options.folder.name} --fit-on {options.fit_on}",
        "protocol": f"fit on {options.fit_on}; settings chosen on {chosen_on}; {PROTOCOL}",
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "threads": 1,
        "users": len(np.unique(split.test.user_num)),
        "peers": [],
    }
    before = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    return {**result, "peers": before["peers"]} if before.get("protocol") == result["protocol"] else result


def wanted(options: argparse.Namespace, knowledge: bool) -> Iterator[tuple[str, str]]:
    """Yield packages and their models, those for a knowledge graph where there is one."""
    for package, models in PEERS.items():
        for model in models:
            names = {package, model}
            holdouts = names & options.only if options.only else not names & options.skip
            if holdouts and (knowledge or model not in WITH_KNOWLEDGE):
                yield package, model


def write_task(task: Path, question: Question, folder: Path) -> bool:
    """Write what task.py reads, and the folder's triples where it has them; return whether it has."""
    domain_num = pd.Index(question.domains).get_indexer(question.split.graph.item_domains)
    save = {"train.csv": pairs(question.train), "valid.csv": pairs(question.valid)}
    save |= {"users.txt": question.user_num, "domains.txt": domain_num}
    sources = [folder / f"{folder.name}.{kind}" for kind in ("link", "kg")]
    knowledge = all(source.exists() for source in sources)
    if knowledge:
        link, triples = (pd.read_csv(source, sep="\t", dtype=str) for source in sources)
        items = question.split.graph.items.nums(link.iloc[:, 0])
        ends = pd.factorize(np.concatenate([link.iloc[:, 1], triples.iloc[:, 0], triples.iloc[:, 2]]))[0]
        entities, heads, tails = np.split(ends, np.cumsum([len(link), len(triples)]))
        save["link.csv"] = np.stack([items, entities], axis=1)[items >= 0]
        save["kg.csv"] = np.stack([heads, pd.factorize(triples.iloc[:, 1])[0], tails], axis=1)
    for name, numbers in save.items():
        np.savetxt(task / name, numbers, fmt="%d", delimiter=",")
    sizes = {"users": question.train.shape[0], "items": question.train.shape[1]}
    (task / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")
    return knowledge


def pairs(matrix: sp.csr_matrix) -> IntArray:
    return np.stack(matrix.nonzero(), axis=1).astype(np.int64)


def attempt(package: str, model: str, task: Path, question: Question) -> dict[str, Any]:
    """Run and measure one peer; what goes wrong is its result."""
    try:
        with tempfile.TemporaryDirectory() as out:
            answer(package, model, task, Path(out))
            facts = json.loads((Path(out) / "facts.json").read_text(encoding="utf-8"))
            return facts | measured(np.load(Path(out) / "lists.npy").astype(np.int64), question)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"ended with {error.returncode}"]
        return {"error": said[-1].replace(str(ROOT), ".")}
    except (OSError, ValueError) as error:
        return {"error": str(error).replace(str(ROOT), ".")}


def answer(package: str, model: str, task: Path, out: Path) -> None:
    """Let a peer answer in a process of its own."""
    script = HERE.resolve() / f"peer_{package.replace('-', '_')}.py"
    subprocess.run(
        [environment(package), "-W", "ignore", script, task, out, model],
        cwd=out,
        env=os.environ | threads(),
        check=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def threads() -> dict[str, str]:
    """Return what makes a process compute in one thread."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def environment(package: str) -> Path:
    """Return the Python of a peer's environment, which is made anew when its requirements have changed."""
    folder, requirements = BUILD / package, (HERE / f"{package}.txt").read_text(encoding="utf-8")
    python, made_of = folder / "bin" / "python", folder / "made-of.txt"
    if not made_of.exists() or made_of.read_text(encoding="utf-8") != requirements:
        print(f"Making the environment of {package}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", HERE / f"{package}.txt"], check=True, stderr=subprocess.PIPE, text=True)
        made_of.write_text(requirements, encoding="utf-8")
    return python


def measured(lists: npt.NDArray[np.int64], question: Question) -> dict[str, Any]:
    """Measure lists [domains, n, k]; a user with test rows in several domains counts in each.

    `kgrec.evaluation.evaluate` does the same.
    """
    relevant, seen = question.split.graph.pairs(question.split.test), question.split.train_and_valid.interactions
    found: list[Evaluation] = []
    for listed, allowed in zip(lists, question.allowed(), strict=True):
        check(listed, question, seen, allowed)
        within = sp.csr_matrix(relevant[question.user_num].multiply(allowed))
        within.eliminate_zeros()
        holdouts = np.diff(within.indptr) > 0
        if holdouts.any():
            found.append(evaluate(as_ranking(listed[holdouts]), within[holdouts], question.train, KS))
    per_user = {m: np.concatenate([e.per_user[m] for e in found]) for m in found[0].per_user}
    weights, flat = [e.n_users for e in found], [e.to_dict() for e in found]
    return {
        "metrics": {m: round(float(np.average([values[m] for values in flat], weights=weights)), 6) for m in flat[0]},
        "intervals": {m: [round(end, 6) for end in bootstrap_interval(v)] for m, v in per_user.items()},
    }


def check(listed: npt.NDArray[np.int64], question: Question, seen: sp.csr_matrix, allowed: npt.NDArray[Any]) -> None:
    """Refuse lists [n, k] with an item twice, one that was seen, or one of another domain."""
    row, place = np.nonzero(listed >= 0)
    items = listed[row, place]
    if len(np.unique(row * len(allowed) + items)) < len(items):
        raise ValueError("an item is twice in a list")
    if not allowed[items].all() or seen[question.user_num[row], items].any():
        raise ValueError("a list holds what may not be recommended")


def as_ranking(lists: npt.NDArray[np.int64]) -> Ranking:
    """Return lists [n, k] as kgrec's evaluator takes them; scores are places, since it reads none."""
    place = np.broadcast_to(-np.arange(lists.shape[1], dtype=np.float32), lists.shape)
    return Ranking(lists, np.where(lists >= 0, place, np.float32(np.nan)))


if __name__ == "__main__":
    main()
