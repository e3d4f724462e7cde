"""Metrics of recommendations in data frames, of this or any other library."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from kgrec._util.types import IntArray
from kgrec.config import METRICS as OF_ONE_USER
from kgrec.data.arrow import plain
from kgrec.data.columns import as_keys, expected_id, to_mask
from kgrec.data.frames import as_table, lacking, shown_cell
from kgrec.errors import DataError, Problem, UsageError, listed, near_matches
from kgrec.metrics.ranking import Metric
from kgrec.metrics.ranking import evaluate as evaluate_ranking
from kgrec.ranking.top_k import Ranking

METRICS: Final = (*OF_ONE_USER, "Coverage", "Novelty")
"""Names of metrics; a metric is a name with a list length, such as NDCG@10."""

DEFAULT_METRICS: Final = ("NDCG@10", "Recall@10")


def parse_metrics(names: str | Iterable[str]) -> list[Metric]:
    """Return metrics by their names, such as "NDCG@10".

    Raises:
        UsageError: a name is unknown; the error lists all unknown names and the valid ones.
    """
    given = [names] if isinstance(names, str) else list(names)
    matches = [re.fullmatch(r"(\w+)@([1-9]\d{0,5})", str(name)) for name in given]
    wrong = [str(name) for name, match in zip(given, matches, strict=True) if not match or match[1] not in METRICS]
    if wrong or not given:
        near = near_matches(wrong[0].partition("@")[0], METRICS) if wrong else ""
        raise UsageError(
            f"unknown metric: {listed(map(repr, wrong)) or 'none given'}{near}. "
            f"Expected one of {', '.join(METRICS)} with a list length, such as NDCG@10"
        )
    return [Metric(match[1], int(match[2])) for match in matches if match]


def evaluate(
    recommendations: object,
    interactions: object,
    metrics: str | Iterable[str] = DEFAULT_METRICS,
    *,
    train: object = None,
    catalog: Iterable[object] | None = None,
) -> dict[str, float]:
    """Return metrics of recommendations, measured on held-out interactions.

    The means are over all users of `interactions`; a user without recommendations counts as 0. `kgrec.metrics.ranking`
    defines the metrics; the results equal those of `kgrec benchmark`.

    Args:
        recommendations: frame (pandas, polars or Arrow) with user_id, item_id and either rank (from 1) or score (the
            highest score ranks first). One list for each user.
        interactions: frame with user_id and item_id, such as the test part of `kgrec.split`.
        metrics: names with list lengths: NDCG, Recall, Precision, HR, MRR, MAP, Coverage, Novelty.
        train: frame of the training interactions; required for Novelty.
        catalog: ids of all items that could be recommended; required for Coverage.

    Returns:
        Metric → mean over the users. Coverage is a share of the catalog, Novelty is in bits.

    Raises:
        UsageError: a metric is unknown, an argument is not a frame, or `train` (for Novelty) or `catalog` (for
            Coverage) is missing.
        DataError: a column is missing, a frame is empty, an id is missing, the frames have ids of different types or
            no user in common, or a list repeats an item or a rank. The error lists all problems.
    """
    wanted = parse_metrics(metrics)
    _check_given(wanted, train, catalog)
    frames = _Frames()
    test = frames.read("interactions", interactions)
    lists = frames.read_lists(recommendations)
    known = frames.read("train", train) if train is not None else None
    items = frames.read_items("catalog", catalog) if catalog is not None else None
    frames.check(lists, test, items)
    return _measured(wanted, lists, test, known, items)


def _check_given(wanted: list[Metric], train: object, catalog: object) -> None:
    names = {metric.name for metric in wanted}
    missing = [
        text
        for name, given, text in (
            ("Novelty", train, "Novelty needs train=, the training interactions"),
            ("Coverage", catalog, "Coverage needs catalog=, the ids of all items that could be recommended"),
        )
        if name in names and given is None
    ]
    if missing:
        raise UsageError("; ".join(missing))


@dataclass
class _Frames:
    """Reads frames into columns of text ids and collects the problems found.

    Attributes:
        problems: the problems of all frames read so far.
        kinds: column of ids → "text" or "whole numbers", and the name of the first frame with that column.
    """

    problems: list[Problem] = field(default_factory=list)
    kinds: dict[str, tuple[str, str]] = field(default_factory=dict)

    def read(self, where: str, frame: object) -> pd.DataFrame:
        """Return the columns user_id and item_id of a frame, as text."""
        return pd.DataFrame(self._ids(where, self._table(where, frame), ("user_id", "item_id")))

    def read_lists(self, frame: object) -> pd.DataFrame:
        """Return recommendations with the columns user_id, item_id and rank."""
        where = "recommendations"
        table = self._table(where, frame)
        lists = pd.DataFrame(self._ids(where, table, ("user_id", "item_id")))
        if "rank" in table.column_names:
            return lists.assign(rank=self._numbers(where, table, "rank", least=1))
        if "score" in table.column_names and len(lists.columns) == 2:
            score = self._numbers(where, table, "score")
            return lists.assign(rank=(-score).groupby(lists["user_id"]).rank(method="first"))
        self.problems += lacking(table, where, {"rank": "rank"}, hint=", or score")
        return lists

    def read_items(self, where: str, ids: Iterable[object]) -> pd.Index:
        """Return the distinct ids of items, as text."""
        if isinstance(ids, str):
            raise UsageError(f"{where} is a single text: {ids!r}. Expected a list of ids, such as [{ids!r}]")
        table, problems = as_table(pd.DataFrame({"item_id": pd.Series(list(ids))}), where)
        self.problems += problems
        read = self._ids(where, table, ("item_id",))
        items: pd.Index = pd.Index(read.get("item_id", []), dtype=object)
        return items.unique()

    def check(self, lists: pd.DataFrame, test: pd.DataFrame, catalog: pd.Index | None) -> None:
        """Raise a `DataError` with all problems, if there are any."""
        if not self.problems:
            self.problems += _duplicates(lists, "item_id") + _duplicates(lists, "rank")
            if not lists["user_id"].isin(test["user_id"]).any():
                found = f"none of the users of the interactions, such as {test['user_id'].iloc[0]!r}"
                self.problems.append(Problem("recommendations", found, "lists of these users", field="user_id"))
            if catalog is not None and not (listed_ := lists["item_id"].isin(catalog)).all():
                found = repr(lists["item_id"][~listed_].iloc[0])
                self.problems.append(Problem("recommendations", found, "items of the catalog", field="item_id"))
        if self.problems:
            raise DataError(self.problems)

    def _table(self, where: str, frame: object) -> pa.Table:
        table, problems = as_table(frame, where)
        self.problems += problems
        if not table.num_rows:
            self.problems.append(Problem(where, "no rows", "at least one"))
        return table

    def _ids(self, where: str, table: pa.Table, names: tuple[str, ...]) -> dict[str, pd.Series]:
        self.problems += lacking(table, where, {name: name for name in names})
        wrong = {problem.field for problem in self.problems if problem.where == where}
        return {name: self._id(where, name, table.column(name)) for name in names if name not in wrong}

    def _id(self, where: str, name: str, column: pa.ChunkedArray) -> pd.Series:
        ids, wrong = as_keys(column)
        kind = "text" if pa.types.is_string(plain(column).type) else "whole numbers"
        known, first = self.kinds.setdefault(name, (kind, where))
        if known != kind and len(column):
            self.problems.append(Problem(where, kind, f"{known}, as in {first}; convert one of the two", field=name))
        for row in np.flatnonzero(wrong | ~to_mask(pc.not_equal(ids, ""))).tolist():
            expected = expected_id(shown_cell(column, row)) if wrong[row] else "an id"
            self.problems.append(Problem(where, shown_cell(column, row), expected, row + 1, name))
        return pd.Series(ids.to_pandas(), dtype=object)

    def _numbers(self, where: str, table: pa.Table, name: str, least: float = -np.inf) -> pd.Series:
        """Return a column as numbers, float64 [n]; values of "rank" must be whole."""
        column = plain(table.column(name))
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            self.problems.append(Problem(where, f"values of type {column.type}", "numbers", field=name))
            return pd.Series(np.ones(len(column)))
        values = pd.Series(column.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan))
        is_wrong = values.isna() | (values < least) | ((values % 1 != 0) if name == "rank" else False)
        expected = "a whole number from 1" if name == "rank" else "a number"
        self.problems += [
            Problem(where, shown_cell(column, row), expected, row + 1, name)
            for row in np.flatnonzero(is_wrong).tolist()
        ]
        return values


def _duplicates(lists: pd.DataFrame, name: str) -> list[Problem]:
    """Return a problem for the first row that repeats an item or a rank (column `name`) within a list."""
    again = np.flatnonzero(lists.duplicated(["user_id", name]))
    if not len(again):
        return []
    row = lists.iloc[int(again[0])]
    value = int(row[name]) if name == "rank" else row[name]
    hint = "; with several domains, evaluate each one separately" if name == "rank" else ""
    found = f"user {row['user_id']!r} has {name} {value!r} twice"
    return [Problem("recommendations", found, f"each once{hint}", int(again[0]) + 1, name)]


def _measured(
    wanted: list[Metric], lists: pd.DataFrame, test: pd.DataFrame, train: pd.DataFrame | None, catalog: pd.Index | None
) -> dict[str, float]:
    """Number users and items and return the metrics of `kgrec.metrics.ranking`: metric → mean."""
    users = pd.Index(test["user_id"].unique())
    parts = [lists["item_id"], test["item_id"], *([train["item_id"]] if train is not None else [])]
    items = pd.Index(pd.concat(parts).unique())
    ranking = _ranking(lists, users, items, max(metric.k for metric in wanted))
    relevant = _pairs(test, users, items)
    learned = _pairs(train, pd.Index(train["user_id"].unique()), items) if train is not None else relevant
    values = evaluate_ranking(ranking, relevant, learned, {metric.k for metric in wanted}).to_dict()
    if catalog is not None:
        # evaluate_ranking returns coverage as a share of the items in the frames; rescale it to the catalog.
        values |= {
            name: value * len(items) / len(catalog) for name, value in values.items() if name.startswith("Coverage")
        }
    return {str(metric): values[str(metric)] for metric in wanted}


def _ranking(lists: pd.DataFrame, users: pd.Index, items: pd.Index, k: int) -> Ranking:
    """Return the lists of users [n] as a ranking; the item of rank r is in column r - 1."""
    user_num, place = users.get_indexer(pd.Index(lists["user_id"])), lists["rank"].to_numpy(np.int64) - 1
    kept = (user_num >= 0) & (place < k)
    width = int(place[kept].max(initial=0)) + 1
    item_num: IntArray = np.full((len(users), width), -1, np.int64)
    item_num[user_num[kept], place[kept]] = items.get_indexer(pd.Index(lists["item_id"]))[kept]
    return Ranking(item_num, np.full(item_num.shape, np.nan, np.float32))


def _pairs(frame: pd.DataFrame, users: pd.Index, items: pd.Index) -> sp.csr_matrix:
    """Return the user-item pairs of a frame, CSR [n_users, n_items] of ones."""
    pairs = users.get_indexer(pd.Index(frame["user_id"])), items.get_indexer(pd.Index(frame["item_id"]))
    matrix = sp.csr_matrix((np.ones(len(frame), np.float32), pairs), shape=(len(users), len(items)))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
