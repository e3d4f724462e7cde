"""Measured: the rankings and metrics of one domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import scipy.sparse as sp

from kgrec._util.types import IntArray
from kgrec.metrics.ranking import Evaluation
from kgrec.ranking.top_k import Ranking


@dataclass(frozen=True)
class Measured:
    """The rankings and metrics of one domain.

    Attributes:
        user_num: int64 [n], the users with a test interaction in the domain.
        relevant: CSR [n, n_items] of their test items in the domain.
        rankings: model → its lists for these users.
        n_of_user: int64 [n], number of train items of each user.
        n_of_item: int64 [n_items], number of train users of each item.
        evaluations: model → its metrics.
    """

    user_num: IntArray
    relevant: sp.csr_matrix
    n_of_user: IntArray
    n_of_item: IntArray
    rankings: Mapping[str, Ranking]
    evaluations: Mapping[str, Evaluation]
