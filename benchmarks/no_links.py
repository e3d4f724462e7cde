"""Users new to a domain that shares no user with theirs: does text alone lead them there?

    python benchmarks/no_links.py DATA [--out benchmarks/results/accuracy-amazon-art-office-no-links.json]

DATA is a folder of atomic files of two domains in which some users have test rows in a domain that they have no train
rows in, such as amazon-art-office/cold. Whoever has train rows there gets another id for them, so that no user is in
both. Then as `kgrec benchmark`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd

from kgrec.jobs.benchmark import run_benchmark

RESULT = Path(__file__).parent / "results" / "accuracy-amazon-art-office-no-links.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        apart = Path(place) / "no-links"
        write_apart(arguments.data, apart)
        result = run_benchmark(apart, fit_on="train", ks=[10, 20], out=Path(place) / "out")
    result["command"] = f"python benchmarks/no_links.py {arguments.data.name}"
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print({model: found["NDCG@10"] for model, found in result["mean"].items()})


def write_apart(data: Path, to: Path) -> None:
    """Write atomic files in which train rows of the domains that test asks for have users of their own."""
    to.mkdir()
    [items] = data.glob("*.item")
    name = items.stem
    (to / items.name).write_bytes(items.read_bytes())
    domain = read(items).set_index("item_id:token")["domain:token"]
    test = read(data / f"{name}.test.inter")
    train = read(data / f"{name}.train.inter")
    target = train["item_id:token"].map(domain).isin(set(test["item_id:token"].map(domain)))
    train.loc[target, "user_id:token"] += " there"
    for part, rows in (("train", train), ("test", test)):
        rows.to_csv(to / f"{name}.{part}.inter", sep="\t", index=False, quoting=3)


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, quoting=3, keep_default_na=False)


if __name__ == "__main__":
    main()
