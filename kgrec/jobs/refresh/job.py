"""The nightly job: take in what is new, learn what that asks for, compare, publish; killed at any moment, it goes on.

take in   rows that are new or changed            one write: all of them or none
learn     fold-in, refit or full (kgrec/jobs/refresh/policy.py)  a run folder: whole or not there
compare   with the run that serves (kgrec/jobs/refresh/gate.py)
publish   lists and vectors                       one step
"""

from __future__ import annotations

import time
from collections.abc import Callable
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
from kgrec.errors import GateRefused, RunError
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
    """Bring a graph and what it recommends up to date with a source; where nothing is new, nothing is published.

    Args:
        request: what to do.
        report: where steps are told.

    Returns:
        "result": "published" or "nothing new"; in a dry run "would learn" or "would end: nothing new". "new" and
        "changed": label or type → rows. Unless nothing is new "mode" and "why" of the rule, and in a dry run
        "expected_seconds", what the last run made in that way took, None where there is none. Once published "run",
        "instead_of", "recommendations", and where it was compared "ndcg", "ndcg_before" and how many users were
        "users_compared". "seconds".

    Raises:
        DataError: with every problem of the source; nothing was written.
        GateRefused: the new run is worse; the one before it still serves.
        StoreLocked: another job is at work on the graph.
        StoreError, RunError, UsageError: as the steps do. Run it again: it goes on where it was.
    """
    start, report = time.perf_counter(), report or Report()
    with report.span("kgrec refresh", graph=request.graph) as span:
        job = _Job(request, request.vocabulary(), report)
        result = job.plan() if request.dry_run else job.run()
        span.set_attributes(attributes(result))
    return {**result, "seconds": round(time.perf_counter() - start, 1)}


@dataclass(frozen=True)
class _Job:
    """A refresh at work.

    Attributes:
        request: what to do.
        schema: the vocabulary that was given.
        report: where steps are told.
    """

    request: RefreshRequest
    schema: Schema | None
    report: Report

    def run(self) -> dict[str, Any]:
        """Do all of it, alone."""
        with leased(self.request.graph) as check_lease:
            prepare_root(self.request.root)
            request = {"source": _name_of(self.request.source), "since": self.request.since, "full": self.request.full}
            journal = Journal(self.request.root, self.report, request)
            remove_leftovers(self.request.root)
            journal.step("read")
            delta = self.read()
            check_lease()
            if not delta.is_empty:
                journal.step("write", **_rows(delta))
                with open_graph(self.request.graph, create=True) as store:
                    store.write(delta.tables)
            record_sizes(self.request.root, self.request.graph, delta.rows)
            result = self.update(journal, delta, check_lease)
            journal.step("end", **result)
        return {**result, **_rows(delta)}

    def read(self) -> IngestDelta:
        """Read the source and compare it with the graph."""
        before = {} if self.request.allow_shrink else sizes_of(self.request.root, self.request.graph)
        asked = self.request
        with open_graph(asked.graph, read_only=True) if GraphUri.parse(asked.graph).exists else nullcontext() as store:
            return ingest_delta(store, asked.loader, asked.source, self.schema, asked.since, before)

    def update(self, journal: Journal, delta: IngestDelta, check_lease: Callable[[], None]) -> dict[str, Any]:
        """Publish a run of what the graph holds, unless one is published."""
        journal.step("snapshot")
        with open_graph(self.request.graph, read_only=True) as store:
            snapshot, published = merge_linked_users(store.snapshot()), store.published()
        reconcile(self.request.root, published)
        live_run = self.live_run(published)
        if live_run and self.is_up_to_date(live_run, snapshot.digest) and (not self.request.full or journal.resumes):
            return {"result": "nothing new", "run": live_run.name}
        from kgrec.jobs.refresh.retrain import retrain  # what learns takes seconds to import

        update_plan = self.update_plan(live_run, snapshot)
        run = self.made_before(snapshot.digest, update_plan, live_run)
        if run is None:
            config = self.request.config or (Config.from_run(live_run.info["config"]) if live_run else Config())
            facts = {"instead_of": published, **_rows(delta)}
            run = retrain(
                self.request.root, self.request.graph, snapshot, live_run, update_plan, config, facts, journal.step
            )
        self.pass_gate(run, published)
        journal.step("publish", run=run.name)
        check_lease()
        with open_graph(self.request.graph, create=True) as store:
            done = publish(store, self.request.root, run, self.request.k, "refresh")
        return {"result": "published", **done, **_told(run)}

    def is_up_to_date(self, live_run: Run, digest: str) -> bool:
        """Say whether what serves is of this very graph, or was gone back to from a run that is: until more comes."""
        told = publications(self.request.root)
        names = {live_run.name, *(entry.run for entry in told if told[-1].how == "rollback")}
        return any(run.name in names and run.info.get("data_digest") == digest for run in list_runs(self.request.root))

    def live_run(self, published: str | None) -> Run | None:
        """Return the run that the graph has published; None if there is none, or it cannot be read, which is said."""
        try:
            run = find_run(self.request.root, published) if published else None
            if run:
                check_complete(run)
            return run
        except RunError as error:
            notice(f"{error}. So nothing of the run that is published can be taken over, its settings neither")
            return None

    def update_plan(self, live_run: Run | None, snapshot: GraphSnapshot) -> UpdatePlan:
        """Apply the rule to a graph that has everything."""
        config = self.request.config.model_dump(mode="json") if self.request.config else None
        known = live_run.info if live_run else None
        return plan_update(known, size_of(snapshot), snapshot.schema.digest, config, self.request.full)

    def made_before(self, digest: str, update_plan: UpdatePlan, live_run: Run | None) -> Run | None:
        """Return a run that an earlier refresh has made of the same graph in the same way and did not publish."""
        wanted = (digest, update_plan.mode, live_run.name if live_run else None)
        config = self.request.config.model_dump(mode="json") if self.request.config else None
        for run in reversed(list_runs(self.request.root)):
            made = run.info.get("refresh", {})
            same = (run.info.get("data_digest"), made.get("mode"), made.get("instead_of")) == wanted
            if same and (config is None or config == run.info["config"]):
                return run
        return None

    def pass_gate(self, run: Run, published: str | None) -> None:
        """Stop a run that is worse than the one that serves; with `force` only note that it is."""
        why = run.info["gate"]["reasons"]
        if why and not self.request.force:
            raise GateRefused(
                f"run {run.name} is not published, {self.request.graph} still has {published}: {'; '.join(why)}. "
                f"Look: kgrec runs show {self.request.graph} {run.name}. "
                "To publish it all the same, run this with --force"
            )
        if why:
            write_json(run.folder / "run.json", {**run.info, "gate": {**run.info["gate"], "forced": True}})

    def plan(self) -> dict[str, Any]:
        """Say what would be done, and about how long it would take by earlier runs."""
        delta, published = self.read(), None
        tables = delta.tables
        if GraphUri.parse(self.request.graph).exists:
            with open_graph(self.request.graph, read_only=True) as store:
                published, schema = store.published(), store.schema
                tables = joined(rows_of(store, schema), tables) if schema else tables
        snapshot, live_run = merge_linked_users(GraphSnapshot.from_tables(tables)), self.live_run(published)
        if live_run and self.is_up_to_date(live_run, snapshot.digest) and not self.request.full:
            return {"result": "would end: nothing new", **_rows(delta)}
        update_plan = self.update_plan(live_run, snapshot)
        took = [
            run.info["summary"]["seconds"]
            for run in list_runs(self.request.root)
            if "summary" in run.info and run.info.get("refresh", {}).get("mode", "full") == update_plan.mode
        ]
        told = {"mode": update_plan.mode, "why": update_plan.why, "expected_seconds": took[-1] if took else None}
        return {"result": "would learn", **told, **_rows(delta)}


def _name_of(source: Any) -> str:
    """Return what to call a source in the journal: its address, never what is in it."""
    return redacted(str(source))[:200] if isinstance(source, str | Path) else type(source).__name__


def _rows(delta: IngestDelta) -> dict[str, Any]:
    return {"new": dict(delta.new), "changed": dict(delta.changed)}


def _told(run: Run) -> dict[str, Any]:
    measured = run.info["gate"]["measured"]
    figures = {
        "ndcg": measured.get("candidate"),
        "ndcg_before": measured.get("current"),
        "users_compared": measured["users"],
    }
    return {
        "instead_of": run.info["refresh"]["instead_of"],
        "mode": run.info["refresh"]["mode"],
        "why": run.info["refresh"]["why"],
        **figures,
    }
