"""Refresh job: ingest, retrain, compare, publish. An interrupted refresh continues where it stopped.

ingest    new and changed rows, in one atomic write
retrain   by fold-in, refit or full (kgrec/jobs/refresh/policy.py), to a run folder that is written atomically
compare   with the live run (kgrec/jobs/refresh/gate.py)
publish   lists and vectors, atomically
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgrec._util.files import write_json
from kgrec._util.notices import notice
from kgrec._util.secrets import redacted
from kgrec.config import Config
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.errors import GateRefused, RunError
from kgrec.events.intake import logged_events, set_aside, tables_of
from kgrec.jobs.refresh.changes import IngestDelta, ingest_delta, record_sizes, rows_of, sizes_of
from kgrec.jobs.refresh.journal import Journal
from kgrec.jobs.refresh.policy import UpdatePlan, plan_update, size_of
from kgrec.jobs.refresh.report import Report, attributes
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.runs.folder import Run, find_run, list_runs, prepare_root, remove_leftovers
from kgrec.runs.publications import publications, reconcile
from kgrec.runs.publish import check_complete, publish
from kgrec.store import open_graph
from kgrec.store.job_lock import leased
from kgrec.store.merge import joined
from kgrec.store.uri import GraphUri


def refresh(request: RefreshRequest, report: Report | None = None) -> dict[str, Any]:
    """Update a graph, its model and its recommendations from a source. Without new data, nothing is published.

    Args:
        request: source, graph and options.
        report: logs the steps.

    Returns:
        "result": "published" or "nothing new"; in a dry run "would learn" or "would end: nothing new".
        "new", "changed": label or type → rows.
        "mode", "why": of the policy, unless nothing is new; in a dry run also "expected_seconds": duration of the last
        run of that mode, or None.
        "run", "instead_of", "recommendations": once published. "metric", "metric_value", "metric_value_before",
        "users_compared": the comparison: the metric (NDCG@20, or the setting `metric`), its means, and the number of
        test cases.
        "seconds": duration.

    Raises:
        DataError: lists every problem of the source; nothing was written.
        GateRefused: the new run is worse; the live run stays.
        StoreLocked: another job is running on the graph.
        StoreError, RunError, UsageError: as the steps raise. Re-run the refresh: it continues where it stopped.
    """
    start, report = time.perf_counter(), report or Report()
    with report.span("kgrec refresh", graph=request.graph) as span:
        job = _Job(request, request.vocabulary(), report)
        result = job.plan() if request.dry_run else job.run()
        span.set_attributes(attributes(result))
    return {**result, "seconds": round(time.perf_counter() - start, 1)}


@dataclass(frozen=True)
class _Job:
    """A running refresh.

    Attributes:
        request: source, graph and options.
        schema: the schema of the request; None for the graph's.
        report: logs the steps.
    """

    request: RefreshRequest
    schema: Schema | None
    report: Report

    def run(self) -> dict[str, Any]:
        """Ingest, update and publish, under the lock of the graph; return the result."""
        with leased(self.request.graph) as check_lease:
            prepare_root(self.request.root)
            request = {"source": _name_of(self.request.source), "since": self.request.since, "full": self.request.full}
            journal = Journal(self.request.root, self.report, request)
            remove_leftovers(self.request.root)
            rows = self.ingest(journal, check_lease)
            result = self.update(journal, rows, check_lease)
            journal.step("end", **result)
        return {**result, **rows}

    def ingest(self, journal: Journal, check_lease: Callable[[], None]) -> dict[str, dict[str, int]]:
        """Write what the source and the event log have new, in this order; return "new" and "changed" rows."""
        set_aside(self.request.events)
        rows: dict[str, dict[str, int]] = {"new": {}, "changed": {}}
        steps = {"read": self.read} if self.request.source is not None else {}
        steps |= {"read events": self.read_events} if self.request.events.is_dir() else {}
        for step, read in steps.items():
            journal.step(step)
            delta = read()
            check_lease()
            if delta is not None and not delta.is_empty:
                journal.step("write", **_rows(delta))
                with open_graph(self.request.graph, create=True) as store:
                    store.write(delta.tables)
            if delta is not None:
                rows = _summed(rows, delta)
        return rows

    def read(self) -> IngestDelta | None:
        """Return the rows of the source that are new to the graph or changed; None without a source."""
        request = self.request
        if request.source is None:
            return None
        previous = {} if request.allow_shrink else sizes_of(request.root, request.graph)
        exists = GraphUri.parse(request.graph).exists
        with open_graph(request.graph, read_only=True) if exists else nullcontext() as store:
            delta = ingest_delta(store, request.loader, request.source, self.schema, request.since, previous)
        if not request.dry_run:
            record_sizes(request.root, request.graph, delta.rows)
        return delta

    def read_events(self) -> IngestDelta | None:
        """Return the rows that the events of a service add to the graph; None without events."""
        events = logged_events(self.request.events)
        if not events or not GraphUri.parse(self.request.graph).exists:
            return None
        with open_graph(self.request.graph, read_only=True) as store:
            return ingest_delta(store, "events", tables_of(events, store))

    def update(self, journal: Journal, rows: Mapping[str, Any], check_lease: Callable[[], None]) -> dict[str, Any]:
        """Retrain and publish, unless the live run is up to date; return the result."""
        journal.step("snapshot")
        with open_graph(self.request.graph, read_only=True) as store:
            snapshot, published = merge_linked_users(store.snapshot()), store.published()
        reconcile(self.request.root, published)
        live_run = self.live_run(published)
        if live_run and self.is_up_to_date(live_run, snapshot.digest) and (not self.request.full or journal.resumes):
            return {"result": "nothing new", "run": live_run.name}
        from kgrec.jobs.refresh.retrain import retrain  # importing the models takes seconds

        update_plan = self.update_plan(live_run, snapshot)
        run = self.unpublished_run(snapshot.digest, update_plan, live_run)
        if run is None:
            config = self.request.config or (Config.from_run(live_run.info["config"]) if live_run else Config())
            facts = {"instead_of": published, **rows}
            run = retrain(self.request, snapshot, live_run, update_plan, config, facts, journal.step)
        self.pass_gate(run, published)
        journal.step("publish", run=run.name)
        check_lease()
        with open_graph(self.request.graph, create=True) as store:
            done = publish(store, self.request.root, run, self.request.k, "refresh")
        return {"result": "published", **done, **_comparison(run)}

    def is_up_to_date(self, live_run: Run, digest: str) -> bool:
        """Return whether the live run was trained on this snapshot, or is a rollback from a run that was.

        A rollback stays live until the data change.
        """
        published = publications(self.request.root)
        names = {live_run.name, *(entry.run for entry in published if published[-1].action == "rollback")}
        return any(run.name in names and run.info.get("data_digest") == digest for run in list_runs(self.request.root))

    def live_run(self, published: str | None) -> Run | None:
        """Return the live run; None if nothing is published, or, with a notice, if the run cannot be read."""
        try:
            run = find_run(self.request.root, published) if published else None
            if run:
                check_complete(run)
            return run
        except RunError as error:
            notice(f"the live run is not used, nor are its settings: {error}")
            return None

    def update_plan(self, live_run: Run | None, snapshot: GraphSnapshot) -> UpdatePlan:
        """Return the retraining policy's plan for the updated graph."""
        config = self.request.config.model_dump(mode="json") if self.request.config else None
        known = live_run.info if live_run else None
        return plan_update(known, size_of(snapshot), snapshot.schema.digest, config, self.request.full)

    def unpublished_run(self, digest: str, update_plan: UpdatePlan, live_run: Run | None) -> Run | None:
        """Return a run that an interrupted refresh trained on the same snapshot by the same plan; None without one."""
        wanted = (digest, update_plan.mode, live_run.name if live_run else None)
        config = self.request.config.model_dump(mode="json") if self.request.config else None
        for run in reversed(list_runs(self.request.root)):
            made = run.info.get("refresh", {})
            same = (run.info.get("data_digest"), made.get("mode"), made.get("instead_of")) == wanted
            if same and (config is None or config == run.info["config"]):
                return run
        return None

    def pass_gate(self, run: Run, published: str | None) -> None:
        """Raise `GateRefused` if a run is worse than the live run; with `force` record the decision instead."""
        why = run.info["gate"]["reasons"]
        if why and not self.request.force:
            raise GateRefused(
                f"run {run.name} was refused: {'; '.join(why)}. {self.request.graph} keeps the live run {published}. "
                f"To inspect the run: kgrec runs show {self.request.graph} {run.name}. "
                "To publish it anyway, run this again with --force"
            )
        if why:
            write_json(run.folder / "run.json", {**run.info, "gate": {**run.info["gate"], "forced": True}})

    def plan(self) -> dict[str, Any]:
        """Return what a refresh would do, and the duration of the last run of that mode."""
        deltas, published = [delta for delta in (self.read(), self.read_events()) if delta], None
        rows: dict[str, dict[str, int]] = {"new": {}, "changed": {}}
        tables: GraphTables | None = None
        if not deltas or GraphUri.parse(self.request.graph).exists:
            with open_graph(self.request.graph, read_only=True) as store:
                published, schema = store.published(), store.schema
                tables = rows_of(store, store.require_schema()) if schema or not deltas else None
        for delta in deltas:
            rows = _summed(rows, delta)
            tables = joined(tables, delta.tables) if tables else delta.tables
        assert tables is not None
        snapshot, live_run = merge_linked_users(GraphSnapshot.from_tables(tables)), self.live_run(published)
        if live_run and self.is_up_to_date(live_run, snapshot.digest) and not self.request.full:
            return {"result": "would end: nothing new", **rows}
        update_plan = self.update_plan(live_run, snapshot)
        seconds = [
            run.info["summary"]["seconds"]
            for run in list_runs(self.request.root)
            if "summary" in run.info and run.info.get("refresh", {}).get("mode", "full") == update_plan.mode
        ]
        planned = {"mode": update_plan.mode, "why": update_plan.why, "expected_seconds": (seconds or [None])[-1]}
        return {"result": "would learn", **planned, **rows}


def _name_of(source: Any) -> str:
    """Return the name of a source for the journal: its path or URL without secrets, or its type."""
    return redacted(str(source))[:200] if isinstance(source, str | Path) else type(source).__name__


def _summed(rows: Mapping[str, Mapping[str, int]], delta: IngestDelta) -> dict[str, dict[str, int]]:
    """Return the sums of "new" and "changed" rows and those of a delta."""
    return {kind: dict(Counter(rows[kind]) + Counter(more)) for kind, more in _rows(delta).items()}


def _rows(delta: IngestDelta) -> dict[str, Any]:
    return {"new": dict(delta.new), "changed": dict(delta.changed)}


def _comparison(run: Run) -> dict[str, Any]:
    """Return a run's plan and its comparison with the live run, for the result of the refresh."""
    measured = run.info["gate"]["measured"]
    figures = {
        "metric": measured.get("metric"),
        "metric_value": measured.get("candidate"),
        "metric_value_before": measured.get("current"),
        "users_compared": measured["users"],
    }
    return {
        "instead_of": run.info["refresh"]["instead_of"],
        "mode": run.info["refresh"]["mode"],
        "why": run.info["refresh"]["why"],
        **figures,
    }
