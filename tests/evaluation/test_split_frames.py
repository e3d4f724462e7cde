"""Splits of frames and graphs by the protocols of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from kgrec import DataError, Split, UsageError
from kgrec.data.interactions import from_interactions
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import split_by
from kgrec.evaluation.protocols import cut_for
from kgrec.evaluation.split import HOLDS_OUT, split
from kgrec.store import open_graph

ROWS = ["user_id", "item_id"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Interactions of 30 users with 20 items, some of them twice, in no order, and a column that means nothing here."""
    rng = np.random.default_rng(0)
    n = 400
    return pd.DataFrame(
        {
            "note": [f"row {row}" for row in range(n)],
            "user_id": rng.integers(30, size=n),
            "item_id": rng.integers(20, size=n),
            "timestamp": rng.permutation(n).astype(float),
        },
        index=rng.permutation(n) + 1000,
    )


def test_split_of_a_frame_keeps_rows_and_columns(frame: pd.DataFrame) -> None:
    train, test = split(frame, "last", n=2)
    assert list(train.columns) == list(test.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(train, frame.loc[train.index])
    pd.testing.assert_frame_equal(test, frame.loc[test.index])
    assert not set(train.index) & set(test.index)


def test_split_last_takes_the_latest_of_every_user(frame: pd.DataFrame) -> None:
    train, test = split(frame, "last")
    latest = frame.loc[frame.groupby("user_id")["timestamp"].idxmax()]
    seen = set(map(tuple, frame.drop(latest.index)[ROWS].to_numpy()))
    expected = [index for index, *pair in latest[ROWS].itertuples() if tuple(pair) not in seen]
    assert set(test.index) == set(expected)
    assert set(train.index) == set(frame.index) - set(latest.index)
    assert not set(map(tuple, test[ROWS].to_numpy())) & set(map(tuple, train[ROWS].to_numpy()))


@pytest.mark.parametrize("protocol", ["last", "time", "random", "warm", "cold-user", "cold-item"])
def test_split_of_a_frame_equals_that_of_its_graph(frame: pd.DataFrame, protocol: str) -> None:
    graph = GraphSnapshot.from_tables(from_interactions(frame[[*ROWS, "timestamp"]]))
    cut = (cut_for if protocol not in ("last", "time", "random") else split_by)(graph, protocol)
    train, test = split(frame, protocol)
    for found, part in ((train, cut.train.behaviors), (test, cut.test)):
        wanted = zip(graph.users.ids[part.user_num], graph.items.ids[part.item_num], part.time, strict=True)
        rows = zip(found["user_id"].astype(str), found["item_id"].astype(str), found["timestamp"], strict=True)
        assert sorted(rows) == sorted(wanted)


@pytest.mark.parametrize("make", [pl.from_pandas, pa.Table.from_pandas], ids=["polars", "arrow"])
def test_split_returns_the_frame_type(frame: pd.DataFrame, make: Any) -> None:
    found, wanted = split(make(frame)), split(frame)
    for other, pandas in zip(found, wanted, strict=True):
        assert type(other) is type(make(frame))
        assert other["note"].to_pylist() if isinstance(other, pa.Table) else other["note"].to_list()
        assert pa.table(other)["note"].to_pylist() == pandas["note"].tolist()


def test_split_repeats_by_its_seed(frame: pd.DataFrame) -> None:
    one, same, other = (split(frame, "random", seed=seed)[1] for seed in (1, 1, 2))
    assert one.index.tolist() == same.index.tolist() != other.index.tolist()


def test_split_keeps_rows_that_repeat_in_one_part(frame: pd.DataFrame) -> None:
    twice = pd.concat([frame, frame], ignore_index=True)
    train, test = split(twice)
    once = split(frame.reset_index(drop=True))
    assert [len(part) for part in (train, test)] == [2 * len(part) for part in once]


def test_split_accepts_other_column_names(frame: pd.DataFrame) -> None:
    renamed = frame.rename(columns={"user_id": "who", "item_id": "what", "timestamp": "when"})
    found = split(renamed, "time", fraction=0.2, user_id="who", item_id="what", timestamp="when")
    assert [part.index.tolist() for part in found] == [
        part.index.tolist() for part in split(frame, "time", fraction=0.2)
    ]


def test_split_of_graphs_gives_a_split(communities: GraphSnapshot, tmp_path: Path) -> None:
    wanted = split(communities, "last")
    with open_graph(tmp_path / "graph.lbug", create=True) as store:
        store.write(communities.to_tables())
        of_store = split(store, "last")
    for found in (of_store, split(communities.to_tables()), split(tmp_path / "graph.lbug")):
        assert isinstance(found, Split)
        assert found.digest == wanted.digest


def test_split_given_follows_marks(communities: GraphSnapshot) -> None:
    assert split(communities, "given").is_test.sum() == (communities.behaviors.split == "test").sum()


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("lats", {}, r"unknown protocol 'lats'; near matches: last. Expected one of random, time, last, given, warm"),
        ("last", {"fraction": 0.2}, r"unknown option of protocol 'last': fraction. Expected n"),
        ("time", {"n": 2, "nn": 3}, r"unknown option of protocol 'time': n, nn. Expected fraction"),
        ("time", {"fraction": 1.5}, r"fraction=1.5. Expected a share above 0 and below 1"),
        ("time", {"fraction": "0.1"}, r"fraction='0.1'. Expected a share above 0 and below 1"),
        ("last", {"n": 0}, r"n=0. Expected a whole number of interactions of every user, at least 1"),
        ("last", {"n": 1.5}, r"n=1.5. Expected a whole number"),
    ],
)
def test_split_unknown_option_lists_options(
    frame: pd.DataFrame, protocol: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        split(frame, protocol, **options)


def test_split_by_time_without_times_fails(frame: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="no time"):
        split(frame[ROWS], "last")
    assert len(split(frame[ROWS], "random")[1])


def test_split_of_wrong_frames_names_the_problem(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="item_id"):
        split(frame.drop(columns="item_id"))
    with pytest.raises(DataError, match="at least one interaction"):
        split(frame.iloc[:0])
    with pytest.raises(DataError, match="values of one type"):
        split(frame.astype({"user_id": object}).assign(user_id=lambda f: ["a", *f["user_id"][1:]]))
    with pytest.raises(DataError, match="column 'when'"):
        split(frame, timestamp="when")


def test_split_of_a_series_fails() -> None:
    with pytest.raises(UsageError, match=r"Series.* Expected a frame"):
        split(pd.Series([1, 2]))


def test_split_of_wrong_type_lists_accepted_types(communities: GraphSnapshot) -> None:
    with pytest.raises(UsageError, match=r"the data are of type int\. Expected a frame of interactions"):
        split(3)
    with pytest.raises(UsageError, match="column names given for a graph"):
        split(communities, user_id="who")


def test_protocols_are_those_of_the_command_line() -> None:
    assert set(HOLDS_OUT) == {
        *("given", "random", "last", "time"),
        *("warm", "cold-user", "cold-item", "cold-target", "cross-domain"),
    }
