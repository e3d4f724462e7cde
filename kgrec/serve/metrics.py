"""Metrics of the service for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram's buckets."""


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kgrec_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "kgrec_request_seconds",
            "Duration by route.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.answers = Counter("kgrec_answers", "Lists by their source.", ["source"], registry=self.registry)
        self.events = Counter("kgrec_events", "Events by outcome.", ["outcome"], registry=self.registry)
        self.release_age = Gauge(
            "kgrec_release_age_seconds", "Seconds since the live release was published.", registry=self.registry
        )
        self.release_failures = Gauge(
            "kgrec_release_failures", "Publications that could not be loaded.", registry=self.registry
        )
