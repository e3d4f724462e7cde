"""HTML of notebooks: every value from the data is escaped."""

from __future__ import annotations

from pathlib import Path

from kgrec._util import html
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.explain.explanation import Explanation
from kgrec.explain.explanation import Path as GraphPath
from kgrec.runs.folder import write_run
from kgrec.store import open_graph
from kgrec.training.report import FitReport

EVIL = "<script>alert(1)</script>\u202e"


def is_safe(shown: str) -> bool:
    """Return whether the evil text is there, and does nothing."""
    return "&lt;script&gt;alert(1)" in shown and "<script" not in shown and "\u202e" not in shown


def test_title_facts_and_tables_are_escaped() -> None:
    assert is_safe(html.title(EVIL))
    assert is_safe(html.facts({"a": EVIL}))
    assert is_safe(html.facts({EVIL: 1}))
    assert is_safe(html.table([EVIL], []))
    assert is_safe(html.table(["a"], [[EVIL]]))


def test_long_table_says_how_many_rows_are_omitted() -> None:
    shown = html.table(["n"], [[n] for n in range(1234)])
    assert shown.count("<tr>") == html.MAX_ROWS + 1
    assert "and 1,204 more rows" in shown


def test_numbers_are_formatted() -> None:
    shown = html.facts({"count": 1234567, "score": 0.123456789, "is": True, "text": "x" * 1000})
    assert all(f">{value}<" in shown for value in ("1,234,567", "0.1235", "True"))
    assert len(shown) < 1000


def test_schema_and_graph_are_escaped(tmp_path: Path, communities: GraphSnapshot) -> None:
    schema = communities.schema.model_copy(update={"name": EVIL})
    assert is_safe(schema._repr_html_())
    tables = GraphTables(schema, communities.to_tables().nodes, communities.to_tables().edges)
    assert is_safe(tables._repr_html_())
    assert is_safe(GraphSnapshot.from_tables(tables)._repr_html_())
    assert "LIKED" in schema._repr_html_()


def test_open_graph_shows_its_schema(tmp_path: Path, communities: GraphSnapshot) -> None:
    with open_graph(tmp_path / "<b>shop.lbug", create=True) as store:
        assert "nothing loaded yet" in store._repr_html_()
        store.write(communities.to_tables())
        shown = store._repr_html_()
    assert "LIKED" in shown
    assert "&lt;b&gt;shop.lbug" in shown
    assert "cannot be read" in store._repr_html_()
    assert repr(store) == f"LadybugStore({str(tmp_path / '<b>shop.lbug')!r})"


def test_explanation_is_escaped() -> None:
    one = Explanation(EVIL, EVIL, EVIL, 1.0, None, {EVIL: 0.5, "ease": 0.0}, [GraphPath(EVIL, 0.5)])
    assert is_safe(one._repr_html_())
    assert "ease" not in one._repr_html_()


def test_run_is_escaped_and_shows_its_metrics(tmp_path: Path) -> None:
    info = {"summary": {"protocol": EVIL}, "metrics": {"models": {"hybrid": {"NDCG@10": 0.12345}}}}
    run = write_run(tmp_path / "<run>", info, {}, {})
    assert is_safe(run._repr_html_())
    assert "0.1235" in run._repr_html_()
    assert repr(run) == f"Run({str(tmp_path / '<run>')!r})"


def test_graph_title_has_counts(communities: GraphSnapshot) -> None:
    assert repr(communities).startswith("GraphSnapshot(User 40, Item 20, Tag 8, LIKED ")
    assert repr(communities.to_tables()) == repr(communities).replace("Snapshot", "Tables")


def test_fit_report_is_escaped_and_shows_metrics() -> None:
    blend = {"kind": "mean", "options": {"mean": 0.4321}, "shares": {EVIL: 0.75, "ease": 0.25, "ials": 0.001}}
    report = FitReport(10, 20, 3000, "NDCG@20", {"blends": {"film": blend}}, {"fit": 1.25})
    assert is_safe(report._repr_html_())
    assert repr(report) == (
        "FitReport(learned from 3,000 interactions of 10 users with 20 items; NDCG@20 on validation 0.4321 (film))"
    )
    assert report.shares["film"]["ease"] == 0.25
    assert report.protocol == "nothing was held out"
    assert report.tried["what"].tolist() == ["mean"]
