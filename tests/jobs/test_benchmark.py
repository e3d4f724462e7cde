"""`kgrec benchmark` on files cut from the cinema data, against an independent scorer."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import CINEMA

from kgrec.metrics.frames import evaluate
from kgrec.recommender import Recommender

pytestmark = pytest.mark.slow

SCORER = Path(__file__).parents[3] / "shared" / "tools" / "score_topk.py"


@pytest.fixture
def fast(monkeypatch):
    """Two quick signals, where it is not the model that is tested."""
    monkeypatch.setattr("kgrec.jobs.benchmark.Recommender", partial(Recommender, signals=("popularity", "ease")))


def interactions() -> pd.DataFrame:
    return pd.read_csv(CINEMA / "cinema.inter", sep="\t", dtype=str)


def write(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, sep="\t", index=False)


def cut(folder: Path, parts: tuple[str, ...] = ("train", "test"), **changes: Any) -> Path:
    """Write benchmark files: of every user's rows the last is test and, where there is one, the one before valid."""
    frame = interactions()
    held = dict(zip(reversed(parts[1:]), range(len(parts)), strict=False))
    from_end = frame.groupby("user_id:token").cumcount(ascending=False)
    part = from_end.map({place: name for name, place in held.items()}).fillna("train")
    folder.mkdir()
    for name in parts:
        write(frame[part == name], folder / f"cinema.{name}.inter")
    for ending in ("item", "user", "kg", "link"):
        (folder / f"cinema.{ending}").write_bytes((CINEMA / f"cinema.{ending}").read_bytes())
    return folder


def score(folder: Path, out: Path, *more: str) -> dict[str, Any]:
    """Score the written lists with a program that shares no code with kgrec."""
    if not SCORER.is_file():
        pytest.skip(f"no independent scorer at {SCORER}")
    seen = [str(path) for path in sorted(folder.glob("*.inter")) if ".test." not in path.name]
    files = ["--recs", out / "recommendations.parquet", "--test", folder / "cinema.test.inter", "--seen", *seen]
    done = subprocess.run([sys.executable, SCORER, *map(str, files), *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def assert_agrees(found: dict[str, Any], models: dict[str, Any], ks: tuple[int, ...] = (10, 20)) -> None:
    for name in ("NDCG", "Recall", "MRR", "HR"):
        for k in ks:
            assert found[f"{name.lower()}@{k}"] == pytest.approx(models[f"{name}@{k}"], abs=2e-5), (name, k)


def result_of(out: Path) -> dict[str, Any]:
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "recommendations.parquet"]
    return dict(json.loads((out / "metrics.json").read_text()))


def test_benchmark_agrees_with_independent_scorer(kgrec, tmp_path):
    folder, out = cut(tmp_path / "cinema"), tmp_path / "out"
    ran = kgrec("benchmark", folder, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert f"written: {out}/recommendations.parquet, {out}/metrics.json" in ran.out
    result = result_of(out)
    models = result["metrics"]["models"]
    assert {"popularity", "item_knn", "ials", "ease", "lightgcn", "metapaths", "embeddings", "hybrid"} <= set(models)
    assert models["hybrid"]["NDCG@10"] > models["popularity"]["NDCG@10"]
    assert {"load", "encode", "choose", "blend", "rank and measure"} <= set(result["seconds"])
    assert all(seconds >= 0 for seconds in result["seconds"].values())
    assert 50 < result["peak_memory_mb"] < 100_000
    assert "settings chosen on a random part of train" in result["protocol"]
    assert result["command"] == "kgrec benchmark cinema --fit-on train --k 10,20 --seeds 1"
    assert_agrees(score(folder, out), models["hybrid"])


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("fit_on", ["train", "train+valid"])
def test_benchmark_tunes_on_validation_files(kgrec, tmp_path, fit_on):
    folder, out = cut(tmp_path / "cinema", ("train", "valid", "test")), tmp_path / "out"
    ran = kgrec("benchmark", folder, "--out", out, "--fit-on", fit_on, "--k", "5,15", "--json")
    assert json.loads(ran.out) == result_of(out)
    result = result_of(out)
    assert f"fit on {fit_on}; settings chosen on valid" in result["protocol"]
    assert ("fit" in result["seconds"]) == (fit_on == "train+valid")
    lists = pd.read_parquet(out / "recommendations.parquet")
    assert list(lists.columns) == ["user_id", "item_id", "score", "rank"]
    assert lists.groupby("user_id").size().eq(15).all()
    assert_agrees(score(folder, out, "--k", "5,15"), result["metrics"]["models"]["hybrid"], (5, 15))


@pytest.mark.usefixtures("fast")
def test_benchmark_ranks_domains_separately(kgrec, tmp_path):
    folder, out = cut(tmp_path / "cinema"), tmp_path / "out"
    items = pd.read_csv(folder / "cinema.item", sep="\t", dtype=str)
    items["domain:token"] = ["film" if number % 3 else "series" for number in range(len(items))]
    write(items, folder / "cinema.item")
    test = pd.read_csv(folder / "cinema.test.inter", sep="\t", dtype=str)
    domain_of = items.set_index("item_id:token")["domain:token"]
    for path in folder.glob("*.inter"):
        frame = pd.read_csv(path, sep="\t", dtype=str)
        write(frame.assign(**{"domain:token": frame["item_id:token"].map(domain_of)}), path)
    assert kgrec("benchmark", folder, "--out", out).code == 0
    domains = result_of(out)["metrics"]["domains"]
    lists = pd.read_parquet(out / "recommendations.parquet").merge(
        domain_of.rename("domain"), left_on="item_id", right_index=True
    )
    assert lists.groupby(["user_id", "domain"])["rank"].min().eq(1).all()
    asked = set(zip(test["user_id:token"], test["item_id:token"].map(domain_of), strict=True))
    assert set(zip(lists["user_id"], lists["domain"], strict=True)) == asked
    scored = score(folder, out, "--by", "domain", "--items", str(folder / "cinema.item"))
    for name in ("film", "series"):
        assert_agrees(scored[name], domains[name]["hybrid"])


@pytest.mark.usefixtures("fast")
def test_benchmark_counts_users_and_items_only_in_test(kgrec, tmp_path):
    folder, out = cut(tmp_path / "cinema"), tmp_path / "out"
    train = pd.read_csv(folder / "cinema.train.inter", sep="\t", dtype=str)
    new_users, cold_items = ["u1", "u2"], ["f9", "f40"]
    old = ~train["user_id:token"].isin(new_users) & ~train["item_id:token"].isin(cold_items)
    write(train[old], folder / "cinema.train.inter")
    test = pd.read_csv(folder / "cinema.test.inter", sep="\t", dtype=str)
    strangers = test.head(2).assign(**{"user_id:token": ["stranger", "u5"], "item_id:token": ["f3", "unheard"]})
    write(pd.concat([test, strangers]), folder / "cinema.test.inter")
    assert kgrec("benchmark", folder, "--out", out).code == 0
    lists = pd.read_parquet(out / "recommendations.parquet")
    assert {"u1", "u2", "stranger"} <= set(lists["user_id"])
    assert_agrees(score(folder, out), result_of(out)["metrics"]["models"]["hybrid"])


@pytest.mark.usefixtures("fast")
def test_benchmark_seeds_give_mean_and_deviation(kgrec, tmp_path):
    folder, out = cut(tmp_path / "cinema"), tmp_path / "out"
    ran = kgrec("benchmark", folder, "--out", out, "--seeds", 2)
    assert "mean ± standard deviation of 2 seeds" in ran.out
    result = result_of(out)
    assert [seed["seed"] for seed in result["seeds"]] == [0, 1]
    of_seeds = [seed["metrics"]["models"]["hybrid"]["NDCG@20"] for seed in result["seeds"]]
    assert result["mean"]["hybrid"]["NDCG@20"] == pytest.approx(sum(of_seeds) / 2)
    assert result["deviation"]["hybrid"]["NDCG@20"] == pytest.approx(abs(of_seeds[0] - of_seeds[1]) / 2)


@pytest.mark.usefixtures("fast")
def test_benchmark_resumes_with_more_seeds(kgrec, tmp_path):
    folder, out = cut(tmp_path / "cinema"), tmp_path / "out"
    kgrec("benchmark", folder, "--out", out)
    first, lists = result_of(out), (out / "recommendations.parquet").read_bytes()
    kgrec("benchmark", folder, "--out", out, "--seeds", 2)
    assert [seed["seed"] for seed in result_of(out)["seeds"]] == [0, 1]
    assert result_of(out)["seeds"][0] == first["seeds"][0]  # seconds and all
    assert (out / "recommendations.parquet").read_bytes() == lists
    kgrec("benchmark", folder, "--out", out, "--k", "5")
    assert result_of(out)["seeds"][0]["seconds"] != first["seeds"][0]["seconds"]


def test_benchmark_without_test_rows_fails(kgrec, tmp_path):
    failed = kgrec("benchmark", CINEMA, "--out", tmp_path / "out")
    assert failed.code == 2
    assert failed.err == (
        f"error: {CINEMA} has no test rows. Expected a file NAME.test.inter beside NAME.train.inter\n"
    )
    assert not (tmp_path / "out").exists()


def test_benchmark_bad_output_folder_fails_before_the_work(kgrec, tmp_path):
    (tmp_path / "out").write_text("a file")
    failed = kgrec("benchmark", cut(tmp_path / "cinema"), "--out", tmp_path / "out")
    assert failed.code == 1
    assert failed.err == f"error: {tmp_path}/out cannot be written: File exists. Choose another folder with --out\n"
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.usefixtures("fast")
def test_evaluate_of_frames_equals_the_benchmark(kgrec, tmp_path):
    folder, out = cut(tmp_path / "cinema"), tmp_path / "out"
    assert kgrec("benchmark", folder, "--out", out).code == 0
    models = result_of(out)["metrics"]["models"]["hybrid"]
    names = {"user_id:token": "user_id", "item_id:token": "item_id"}
    train, test = (
        pd.read_csv(folder / f"cinema.{part}.inter", sep="\t", dtype=str).rename(columns=names)
        for part in ("train", "test")
    )
    items = pd.read_csv(folder / "cinema.item", sep="\t", dtype=str)["item_id:token"]
    found = evaluate(pd.read_parquet(out / "recommendations.parquet"), test, list(models), train=train, catalog=items)
    assert found == pytest.approx(models, abs=1e-6)
