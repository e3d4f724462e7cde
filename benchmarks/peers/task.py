"""What a peer is asked and what it answers: a folder of files in, lists and facts out.

Each peer runs in an environment of its own, so this file needs nothing but numpy and scipy. The task's folder holds

    train.csv    user,item pairs to learn from, as numbers
    valid.csv    user,item pairs to choose settings on; for choosing, a peer learns from the rest of train
    users.txt    the users to make lists for, a number a line
    domains.txt  the number of each item's domain, a line an item; a list holds items of one domain
    sizes.json   {"users": …, "items": …}

and the answer's folder lists.npy, int32 [domains, users, K], -1 at the end of a short list, and facts.json.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Settings = Mapping[str, Any]

K = 20
SEED = 0
USERS_AT_ONCE = 500


@dataclass(frozen=True)
class Task:
    """What a peer is asked.

    Attributes:
        train: CSR [users, items] of ones, what the final model learns from.
        valid: CSR [users, items] of ones, what settings are chosen on.
        user_num: int64 [n], who gets lists.
        domain_num: int64 [items].
    """

    train: sp.csr_matrix
    valid: sp.csr_matrix
    user_num: IntArray
    domain_num: IntArray

    @classmethod
    def read(cls, folder: Path) -> Task:
        """Read a task's folder."""
        sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
        shape = (sizes["users"], sizes["items"])
        train, valid = (to_csr(numbers(folder / f"{name}.csv").reshape(-1, 2), shape) for name in ("train", "valid"))
        return cls(train, valid, numbers(folder / "users.txt"), numbers(folder / "domains.txt"))

    @cached_property
    def rest(self) -> sp.csr_matrix:
        """What is learned from while settings are chosen: train without valid."""
        rest = sp.csr_matrix(self.train - self.train.multiply(self.valid))
        rest.eliminate_zeros()
        return rest

    @cached_property
    def seen(self) -> sp.csr_matrix:
        """What is never listed: train and valid."""
        return sp.csr_matrix(self.train.maximum(self.valid))

    def domains(self) -> Iterator[BoolArray]:
        """Yield each domain as a mask of its items."""
        for domain in range(self.domain_num.max() + 1):
            yield self.domain_num == domain


class Lister(Protocol):
    """A fitted peer."""

    def lists(self, user_num: IntArray, seen: sp.csr_matrix, allowed: BoolArray, k: int) -> IntArray:
        """Return the k best allowed items of each user that are not in their row of `seen`, int [n, k]."""


@dataclass(frozen=True)
class Scores:
    """A peer that scores every item: user numbers [b] → float [b, items]; what is not finite is not listed."""

    score: Callable[[IntArray], npt.NDArray[Any]]

    def lists(self, user_num: IntArray, seen: sp.csr_matrix, allowed: BoolArray, k: int) -> IntArray:
        """Rank batch by batch."""
        batches = [user_num[i : i + USERS_AT_ONCE] for i in range(0, len(user_num), USERS_AT_ONCE)]
        return np.concatenate([best(self.score(batch), seen[batch], allowed, k) for batch in batches])


@dataclass(frozen=True)
class Model:
    """One model of a peer.

    Attributes:
        fit: learns from a CSR [users, items] with settings.
        tried: the settings to choose from.
        tune: another way of choosing than trying them all.
    """

    fit: Callable[[sp.csr_matrix, Settings], Lister]
    tried: Sequence[Settings]
    tune: Callable[[Task], Settings] | None = None


def main(package: str, models: Mapping[str, Model]) -> None:
    """Answer the task that the command line names: TASK_FOLDER OUT_FOLDER MODEL."""
    folder, out, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    task, model = Task.read(folder), models[name]
    start = cpu_seconds()
    settings = model.tune(task) if model.tune else tune(task, model)
    chosen = cpu_seconds()
    fitted = model.fit(task.train, settings)
    learned = cpu_seconds()
    lists = [without(fitted.lists(task.user_num, task.seen, mask, K), task, mask) for mask in task.domains()]
    listed = cpu_seconds()
    facts = {
        "version": version(package),
        "model": name,
        "settings": settings,
        "settings_tried": len(model.tried),
        "choose_cpu_s": round(chosen - start, 2),
        "fit_cpu_s": round(learned - chosen, 2),
        "recommend_cpu_s": round(listed - learned, 3),
        "peak_memory_mb": peak_memory_mb(),
    }
    np.save(out / "lists.npy", np.array(lists, dtype=np.int32))
    (out / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def tune(task: Task, model: Model) -> Settings:
    """Return those of the settings tried that give the best lists on valid."""
    if len(model.tried) == 1:
        return model.tried[0]
    return max(model.tried, key=lambda settings: ndcg(task, model.fit(task.rest, settings)))


def ndcg(task: Task, fitted: Lister) -> float:
    """Return NDCG@K on valid: its mean over the users of valid and, where there are several, domains."""
    values = []
    for allowed in task.domains():
        relevant = sp.csr_matrix(task.valid.multiply(allowed))
        relevant.eliminate_zeros()
        user_num = np.flatnonzero(np.diff(relevant.indptr))
        if len(user_num):
            lists = fitted.lists(user_num, task.rest, allowed, K)
            values.append(ndcg_of(lists, relevant[user_num]))
    return float(np.concatenate(values).mean())


def ndcg_of(lists: IntArray, relevant: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """Return NDCG of lists [n, k] for CSR [n, items], float64 [n] (Järvelin & Kekäläinen 2002)."""
    discount = 1 / np.log2(np.arange(2, lists.shape[1] + 2))
    ideal = discount.cumsum()[np.clip(np.diff(relevant.indptr), 1, lists.shape[1]) - 1]
    return has(relevant, lists) @ discount / ideal


def best(scores: npt.NDArray[Any], seen: sp.csr_matrix, allowed: BoolArray, k: int) -> IntArray:
    """Return the k best of scores [n, items], int64 [n, k], without what is in `seen` [n, items] or not allowed."""
    scores = np.where(allowed, scores, -np.inf)
    scores[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf
    scores[np.isnan(scores)] = -np.inf
    n = min(k, scores.shape[1])
    item = np.argpartition(scores, -n, axis=1)[:, -n:]
    value = np.take_along_axis(scores, item, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    item = np.where(np.isfinite(value), item, -1)
    return padded(np.take_along_axis(item, order, axis=1), k)


def without(lists: IntArray, task: Task, allowed: BoolArray) -> IntArray:
    """Take out of lists [n, k] what a package filled short ones up with: items that are seen or not allowed."""
    keep = (lists >= 0) & allowed[lists] & ~has(task.seen[task.user_num], lists)
    order = np.argsort(~keep, axis=1, kind="stable")
    return np.take_along_axis(np.where(keep, lists, -1), order, axis=1)


def has(matrix: sp.csr_matrix, lists: IntArray) -> BoolArray:
    """Return which items of lists [n, k] are in their row of CSR [n, items]."""
    row = np.arange(len(lists))[:, None]
    inside = np.repeat(np.arange(len(lists)), np.diff(matrix.indptr)) * matrix.shape[1] + matrix.indices
    return np.isin(row * matrix.shape[1] + lists, inside) & (lists >= 0)


def padded(lists: IntArray, k: int) -> IntArray:
    """Make lists k long, with -1 at their ends."""
    return np.pad(lists, ((0, 0), (0, k - lists.shape[1])), constant_values=-1)


def pairs(matrix: sp.csr_matrix) -> IntArray:
    """Return what is in a CSR [users, items] as int64 [n, 2]."""
    return np.stack(matrix.nonzero(), axis=1).astype(np.int64)


def to_csr(rows: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Return pairs [n, 2] as a float32 CSR of ones."""
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows[:, 0], rows[:, 1])), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def numbers(path: Path) -> IntArray:
    """Read whole numbers."""
    return np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=1) if path.stat().st_size else np.empty(0, np.int64)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those it waited for, in user and system mode."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def peak_memory_mb() -> int:
    """Return the largest resident memory of this process, in MiB.

    Linux counts into `ru_maxrss` what the process that started this one held, so its own count is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
