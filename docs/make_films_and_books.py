"""Make the films and books in `kgrec/cli/films_and_books/` that `kgrec demo --cross-domain` and cross-domain.md load.

All of it is made up: titles are put together from words, and what people see and read is drawn by their taste. Some do
both, some see films only, some read books only.

python docs/make_films_and_books.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parents[1] / "kgrec" / "cli" / "films_and_books"
TASTES = {
    "space": ["starship", "comet", "colony", "robot", "orbit", "signal from Mars"],
    "crime": ["detective", "alibi", "jewel thief", "poison", "witness", "cold case"],
    "romance": ["wedding", "love letter", "summer dance", "first kiss", "sweetheart", "reunion"],
    "western": ["sheriff", "outlaw", "cattle drive", "saloon", "gold rush", "stagecoach"],
}
TITLES = {"film": "The {} and the {}", "book": "One {}, one {}"}
EACH, N_BOTH, N_ONE, SEED, START = 15, 80, 16, 11, 1_700_000_000


def main() -> None:
    rng = np.random.default_rng(SEED)
    items = make_items(rng)
    FOLDER.mkdir(exist_ok=True)
    for name, table in (("item", items), ("inter", make_behaviors(rng, items))):
        table.to_csv(FOLDER / f"films_and_books.{name}", sep="\t", index=False)


def make_items(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for domain, title in TITLES.items():
        for taste, words in TASTES.items():
            pairs = [(one, other) for one in words for other in words if one < other]
            for one, other in (pairs[n] for n in rng.permutation(len(pairs))[:EACH]):
                rows.append((f"{domain}{len(rows) + 1:03}", domain, title.format(one, other), taste))
    return pd.DataFrame(rows, columns=["item_id:token", "domain:token", "title:token_seq", "genre:token_seq"])


def make_behaviors(rng: np.random.Generator, items: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for number in range(N_BOTH + 2 * N_ONE):
        taste = list(TASTES)[number % len(TASTES)]
        domains = ["film", "book"] if number < N_BOTH else ["film"] if number < N_BOTH + N_ONE else ["book"]
        for domain in domains:
            own = items[items["domain:token"] == domain]
            weight = np.where(own["genre:token_seq"] == taste, 12.0, 1.0)
            chosen = rng.choice(own["item_id:token"], 6, replace=False, p=weight / weight.sum())
            times = START + np.sort(rng.integers(0, 90 * 86_400, len(chosen)))
            rows += [(f"u{number + 1:03}", item, time) for item, time in zip(chosen, times, strict=True)]
    return pd.DataFrame(rows, columns=["user_id:token", "item_id:token", "timestamp:float"])


if __name__ == "__main__":
    main()
