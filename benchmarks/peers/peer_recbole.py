"""RecBole: LightGCN, BPR, MultiVAE, EASE, and KGIN where there is a knowledge graph.

He et al. (SIGIR 2020); Rendle et al. (UAI 2009); Liang et al. (WWW 2018); Steck (WWW 2019); Wang et al. (WWW 2021).
Where RecBole trains by epochs, their number is where its early stopping finds the best lists on valid; then everything
is trained for as many.

Left out: KGAT asks dgl for scipy matrices, as its releases before 1.0 gave them, of which this Python is offered none;
CFKG scores a pair at a time only; CKE is behind KGIN on lastfm-kg in the table of ssu-dmlab/AdaKG.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed
from task import SEED, IntArray, Lister, Model, Scores, Settings, Task, main, numbers, pairs


def scatter_mean(src: torch.Tensor, index: torch.Tensor, dim: int, dim_size: int) -> torch.Tensor:
    """Return the means of the rows of src [n, d] that share an index [n], float32 [dim_size, d]."""
    nothing = torch.zeros(dim_size, src.shape[1])
    return nothing.index_reduce(dim, index, src, "mean", include_self=False)


# LightGCN and KGIN fill their adjacency with a method that scipy 1.13 took away.
sp.dok_matrix._update = lambda self, entries: self._dict.update(entries)
# KGIN takes this one function from a package that would have to be compiled against torch.
sys.modules["torch_scatter"] = SimpleNamespace(scatter_mean=scatter_mean)

HOW = {
    "seed": SEED,
    "use_gpu": False,
    "state": "ERROR",
    "show_progress": False,
    "benchmark_filename": ["train", "valid", "valid"],
    "valid_metric": "NDCG@20",
    "topk": [20],
    "eval_step": 5,
    "stopping_step": 6,
    "load_col": {"inter": ["user_id", "item_id"]},
}
"""How it runs; NDCG is looked at every 5 epochs and may stay behind for 30, where RecBole's own limit is 10."""

KNOWLEDGE = {
    "load_col": {
        "inter": ["user_id", "item_id"],
        "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"],
    }
}
"""What else is read for models with a knowledge graph."""

KNOWLEDGE_MODELS = ("KGIN",)


def prepare(name: str, rows: sp.csr_matrix, valid: sp.csr_matrix, settings: Settings) -> tuple[Config, Any, Any]:
    """Let RecBole read behaviors.

    Args:
        name: RecBole's name of a model.
        rows: CSR [users, items], what it learns from.
        valid: CSR [users, items], what early stopping looks at.
        settings: RecBole's settings that differ from its defaults.

    Returns:
        The whole settings, and loaders of rows and of valid.
    """
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), rows, valid)
        knowledge = KNOWLEDGE if name in KNOWLEDGE_MODELS else {}
        if knowledge:
            write_knowledge(Path(place), np.union1d(rows.indices, valid.indices))
        config = Config(name, "task", config_dict={**HOW, **knowledge, **settings, "data_path": place})
        init_seed(config["seed"], reproducibility=True)
        train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    return config, train_data, valid_data


def train(config: Config, train_data: Any, valid_data: Any | None) -> tuple[Any, list[float]]:
    """Train a model; return it and, where there is something to look at, how good its lists were each time."""
    model = get_model(config["model"])(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    scores: list[float] = []
    trainer.fit(
        train_data, valid_data, verbose=False, saved=False, callback_fn=lambda epoch, score: scores.append(score)
    )
    return model, scores


def fit(name: str, rows: sp.csr_matrix, settings: Settings) -> Lister:
    """Fit on everything; RecBole numbers users and items in its own way, and its 0 is nobody."""
    config, train_data, _ = prepare(name, rows, rows, settings)
    model, _ = train(config, train_data, None)
    users = own_numbers(train_data._dataset, "user_id", rows.shape[0])
    items = own_numbers(train_data._dataset, "item_id", rows.shape[1])
    model.eval()

    @torch.no_grad()
    def score(user_num: IntArray) -> np.ndarray:
        holdouts = Interaction({"user_id": torch.from_numpy(users[user_num])})
        scores = model.full_sort_predict(holdouts).reshape(len(user_num), -1).numpy()[:, items]
        return np.where((items > 0) & (users[user_num, None] > 0), scores, -np.inf)

    return Scores(score)


def stop_early(name: str, tried: Sequence[Settings]) -> Callable[[Task], Settings]:
    """Return a choice among settings and of the number of epochs."""

    def tune(task: Task) -> Settings:
        found = []
        for settings in tried:
            config, train_data, valid_data = prepare(name, task.rest, task.valid, settings)
            _, scores = train(config, train_data, valid_data)
            epochs = config["eval_step"] * (int(np.argmax(scores)) + 1)
            found.append((max(scores), {**settings, "epochs": epochs}))
        return max(found, key=lambda pair: pair[0])[1]

    return tune


def own_numbers(data: Any, field: str, n: int) -> IntArray:
    """Return RecBole's number of each of n users or items, int64 [n]; 0 where it has none."""
    token_num = data.field2token_id[field]
    return np.array([token_num.get(str(num), 0) for num in range(n)], dtype=np.int64)


def write(place: Path, rows: sp.csr_matrix, valid: sp.csr_matrix) -> None:
    """Write behaviors as RecBole's files."""
    (place / "task").mkdir()
    for name, matrix in (("train", rows), ("valid", valid)):
        path, header = place / "task" / f"task.{name}.inter", "user_id:token\titem_id:token"
        np.savetxt(path, pairs(matrix), fmt="%d", delimiter="\t", header=header, comments="")


def write_knowledge(place: Path, items: IntArray) -> None:
    """Write the graph, with a link to an entity of exactly the items that have behaviors.

    RecBole forgets behaviors on items without a link, so each of these gets an entity of its own.
    """
    folder = Path(sys.argv[1])
    linked = numbers(folder / "link.csv").reshape(-1, 2)
    linked, alone = linked[np.isin(linked[:, 0], items)], np.setdiff1d(items, linked[:, 0])
    links = [f"{item}\t{entity}" for item, entity in linked.tolist()] + [f"{item}\titem{item}" for item in alone]
    triples = ["\t".join(map(str, row)) for row in numbers(folder / "kg.csv").reshape(-1, 3).tolist()]
    triples += [f"item{item}\titself\titem{item}" for item in alone]
    for name, header, lines in (
        ("kg", "head_id:token\trelation_id:token\ttail_id:token", triples),
        ("link", "item_id:token\tentity_id:token", links),
    ):
        (place / "task" / f"task.{name}").write_text("\n".join([header, *lines, ""]), encoding="utf-8")


def by_epochs(name: str, rates: Sequence[float], **settings: Any) -> Model:
    tried = [{**settings, "learning_rate": rate} for rate in rates]
    return Model(lambda rows, chosen: fit(name, rows, chosen), tried, stop_early(name, tried))


def ease(*weights: float) -> Model:
    tried = [{"reg_weight": weight} for weight in weights]
    return Model(lambda rows, chosen: fit("EASE", rows, chosen), tried)


MODELS = {
    "LightGCN 64": by_epochs("LightGCN", (0.001, 0.005), embedding_size=64, n_layers=2),
    "BPR 64": by_epochs("BPR", (0.001, 0.005), embedding_size=64),
    "MultiVAE": by_epochs("MultiVAE", (0.001, 0.005)),
    "EASE": ease(50.0, 250.0, 500.0, 1000.0),
    "LightGCN, defaults": by_epochs("LightGCN", (0.001,)),
    "EASE, defaults": ease(250.0),
    "KGIN 64": by_epochs("KGIN", (0.005,), embedding_size=64),
}

if __name__ == "__main__":
    main("recbole", MODELS)
