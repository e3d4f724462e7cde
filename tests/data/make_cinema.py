"""Make the small atomic data set in `cinema/`: three tastes, each with its genre, directors and words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TASTES = {
    "Science Fiction": ["Orbit", "Star", "Robot", "Galaxy", "Android", "Comet", "Colony", "Reactor"],
    "Romance": ["Love", "Wedding", "Kiss", "Heart", "Letter", "Garden", "Summer", "Promise"],
    "Western": ["Sheriff", "Saddle", "Canyon", "Outlaw", "Prairie", "Rifle", "Saloon", "Dust"],
}
PATTERNS = ["The {} and the {}", "Last {} of the {}", "{} at the {}"]
N_USERS, FILMS_PER_TASTE, SEED = 90, 24, 7


def write(name: str, header: str, rows: list[str]) -> None:
    path = Path(__file__).parent / "cinema" / f"cinema.{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def main() -> None:
    rng = np.random.default_rng(SEED)
    items, links, triples, taste_of = [], [], [], []
    for taste, (genre, words) in enumerate(TASTES.items()):
        for n in range(FILMS_PER_TASTE):
            item = f"f{len(items) + 1}"
            one, two = rng.choice(words, 2, replace=False)
            title = PATTERNS[n % len(PATTERNS)].format(one, two)
            items.append(f"{item}\t{title}\t{int(rng.integers(1950, 2020))}\t{genre.replace(' ', '-')}")
            links.append(f"{item}\te.{item}")
            triples.append(f"e.{item}\tdirected_by\tp.{taste}{n % 4}")
            triples.append(f"e.{item}\tset_in\tplace.{taste}")
            taste_of.append(taste)
    tastes, users, inter = np.array(taste_of), [], []
    for n in range(N_USERS):
        users.append(
            f"u{n + 1}\t{int(rng.integers(16, 80))}\t{rng.choice(['student', 'engineer', 'writer', 'farmer'])}"
        )
        weight = np.where(tastes == n % 3, 8.0, 1.0) * rng.pareto(2.0, len(tastes)).clip(0.05, 4)
        chosen = rng.choice(len(tastes), int(rng.integers(8, 22)), replace=False, p=weight / weight.sum())
        for step, film in enumerate(chosen):
            rating = int(rng.integers(3, 6) if tastes[film] == n % 3 else rng.integers(1, 4))
            inter.append(f"u{n + 1}\tf{film + 1}\t{rating}\t{1_600_000_000 + n * 1000 + step * 60}")
    write("item", "item_id:token\ttitle:token_seq\trelease_year:token\tgenre:token_seq", items)
    write("user", "user_id:token\tage:token\toccupation:token", users)
    write("inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", inter)
    write("link", "item_id:token\tentity_id:token", links)
    write("kg", "head_id:token\trelation_id:token\ttail_id:token", triples)


if __name__ == "__main__":
    main()
