"""Anomalies planted into a clean graph are reported by kind; the clean graph has none."""

import json

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.anomalies import COLUMNS, DAY_SECONDS, audit
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.store import open_graph

SCHEMA = Schema.parse(
    """
    name: shop
    nodes:
      User: {key: id}
      Item: {key: id}
      Tag: {key: id}
    relationships:
      BOUGHT: {from: User, to: Item, properties: {count: int, at: datetime}}
      HAS_TAG: {from: Item, to: Tag}
    roles: {users: User, items: Item, behaviours: {BOUGHT: {time: at}}}
    """
)
START, DAYS, USERS, ITEMS = 1_700_000_000, 120, 60, 80
NOW = START + (DAYS + 10) * DAY_SECONDS


class Shop:
    """A shop in which 30 behaviors a day happen, evenly; what is odd is added to it."""

    def __init__(self):
        rng = np.random.default_rng(0)
        pair = np.concatenate([rng.permutation(USERS * ITEMS) for _ in range(2)])[: 30 * DAYS]
        self.user = [f"u{p // ITEMS}" for p in pair]
        self.item = [f"i{p % ITEMS}" for p in pair]
        self.at = (START + np.arange(len(pair)) * DAY_SECONDS / 30).tolist()
        self.tagged = [(f"i{n}", f"t{n % 20}") for n in range(ITEMS)]
        self.users, self.items = USERS, [f"i{n}" for n in range(ITEMS)]

    def add(self, user, item, at):
        self.user += user
        self.item += item
        self.at += at

    def tables(self):
        nodes = {
            "User": pa.table({"id": [f"u{n}" for n in range(self.users)]}),
            "Item": pa.table({"id": self.items}),
            "Tag": pa.table({"id": [f"t{n}" for n in range(20)]}),
        }
        at = pa.array(np.round(np.array(self.at) * 1e6).astype(np.int64)).cast(pa.timestamp("us"))
        bought = {"src": self.user, "dst": self.item, "count": list(range(len(self.user))), "at": at}
        tagged = pa.table({"src": [item for item, _ in self.tagged], "dst": [tag for _, tag in self.tagged]})
        return GraphTables(
            SCHEMA, nodes, {("User", "BOUGHT", "Item"): pa.table(bought), ("Item", "HAS_TAG", "Tag"): tagged}
        )

    def found(self):
        rows = audit(GraphSnapshot.from_tables(self.tables()), NOW)
        assert list(rows.columns) == COLUMNS
        return list(rows[["kind", "label", "id"]].itertuples(index=False, name=None))


@pytest.fixture
def shop():
    return Shop()


def test_audit_clean_graph_finds_nothing(shop):
    assert shop.found() == []


@pytest.mark.parametrize(("seconds", "kind"), [(0, "duplicate"), (9, "near duplicate")])
def test_audit_reports_duplicates(shop, seconds, kind):
    shop.add(shop.user[7:8], shop.item[7:8], [shop.at[7] + seconds])
    assert shop.found() == [(kind, "behavior", f"{shop.user[7]} {shop.item[7]}")]


def test_audit_later_repetition_is_not_a_duplicate(shop):
    shop.add(shop.user[7:8], shop.item[7:8], [shop.at[7] + 11])
    assert shop.found() == []


def test_audit_reports_bot_like_user(shop):
    n = 20 * 60 * 3
    shop.users += 1
    shop.add(
        [f"u{USERS}"] * n,
        [f"i{k % ITEMS}" for k in range(n)],
        np.linspace(START, START + DAYS * DAY_SECONDS, n).tolist(),
    )
    assert shop.found() == [("bot-like", "User", f"u{USERS}")]


def test_audit_reports_future_times(shop):
    shop.add(["u1"], ["i2"], [NOW + 2 * DAY_SECONDS])
    assert ("future", "BOUGHT", "u1 i2") in shop.found()


def test_audit_tolerates_small_clock_difference():
    shop = Shop()
    shop.add(["u1"], ["i2"], [NOW + 60])
    assert "future" not in {kind for kind, *_ in shop.found()}


def test_audit_reports_orphans(shop):
    shop.users += 1
    shop.items.append("lonely")
    assert shop.found() == [("orphan", "User", f"u{USERS}"), ("orphan", "Item", "lonely")]


def test_audit_reports_hubs(shop):
    shop.items += [f"n{n}" for n in range(400)]
    shop.tagged += [(f"n{n}", "t3") for n in range(400)]
    assert shop.found() == [("hub", "Tag", "t3")]


def day(n):
    return str(np.datetime64(int(START + n * DAY_SECONDS), "s").astype("datetime64[D]"))


def test_audit_reports_volume_spikes(shop):
    again = range(60)
    shop.add([f"u{n}" for n in again], [f"i{n}" for n in again], (START + 80 * DAY_SECONDS + np.arange(60.0)).tolist())
    assert shop.found() == [("volume", "day", day(80))]


def test_audit_reports_each_gap_once(shop):
    kept = [i for i, at in enumerate(shop.at) if not 70 * DAY_SECONDS <= at - START < 75 * DAY_SECONDS]
    shop.user, shop.item, shop.at = ([part[i] for i in kept] for part in (shop.user, shop.item, shop.at))
    days = [id_ for kind, label, id_ in shop.found() if (kind, label) == ("volume", "day")]
    assert len(days) == 1
    assert day(70) <= days[0] <= day(71)


def test_audit_ignores_ordinal_times(shop):
    shop.at = (np.arange(len(shop.at)) / 1e3).tolist()
    shop.add(["u1"], ["i2"], [4e9])
    assert shop.found() == []


def test_audit_accepts_users_without_interactions(kgrec, tmp_path, shop):
    shop.users += 1
    with open_graph(tmp_path / "shop.lbug", create=True) as store:
        store.write(shop.tables())
    listed = kgrec("audit", "data", tmp_path / "shop.lbug", "--json")
    [row] = json.loads(listed.out)
    assert (listed.code, row["level"], row["kind"], row["id"]) == (0, "info", "orphan", f"u{USERS}")
    shown = kgrec("audit", "data", tmp_path / "shop.lbug")
    assert (shown.code, "info" in shown.out) == (0, True)


@pytest.mark.parametrize(("seconds", "level"), [(0, "error"), (9, "warning")])
def test_audit_findings_have_levels(shop: Shop, seconds: int, level: str) -> None:
    shop.add(shop.user[7:8], shop.item[7:8], [shop.at[7] + seconds])
    assert audit(GraphSnapshot.from_tables(shop.tables()), NOW)["level"].tolist() == [level]


def test_audit_data_command_lists_rows_and_exits_1(kgrec, tmp_path, shop):
    shop.add(["u1"], ["i2"], [4e9])
    shop.items.append("lonely")
    shop.add(shop.user[7:8], shop.item[7:8], [shop.at[7] + 2])
    with open_graph(tmp_path / "shop.lbug", create=True) as store:
        store.write(check(shop.tables()))
    listed = kgrec("audit", "data", tmp_path / "shop.lbug", "--json")
    assert listed.code == 1
    assert json.loads(listed.out)[:1] + json.loads(listed.out)[2:3] == [
        {
            "level": "warning",
            "kind": "near duplicate",
            "label": "behavior",
            "id": f"{shop.user[7]} {shop.item[7]}",
            "detail": "BOUGHT more than once within 10 seconds",
        },
        {"level": "warning", "kind": "orphan", "label": "Item", "id": "lonely", "detail": "no relationship"},
    ]
    shown = kgrec("audit", "data", tmp_path / "shop.lbug")
    assert shown.code == 1
    assert "orphan" in shown.out
    with open_graph(tmp_path / "shop.lbug", create=True) as store:
        store.remove("Item", "lonely")
        store.remove("User", shop.user[7])
        store.remove("User", "u1")
    clean = kgrec("audit", "data", tmp_path / "shop.lbug")
    assert (clean.code, clean.out.strip()) == (0, "no anomalies in the data")
