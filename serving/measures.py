"""Prometheus measures with fixed labels: no path, id or tag of a request ever becomes one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Measures:
    """One service's measures, in a registry of their own.

    Attributes
    ----------
    requests
        Replies by route template, method and status.
    seconds
        Time to the end of the reply, by route template.
    events
        Posted events by what became of them: accepted, duplicate, refused, erased.
    failures
        Things that went wrong inside, by part.
    waiting_rows
        Events that wait to be written.
    remembered_seconds
        Time from a post to its events being durable and in the memories.
    waiting_customers, tagging_lag
        Customers whose tags are to be evaluated, and how long the first has waited, seconds.
    triggers
        Triggers by what became of them: sent, blocked, recorded.
    deliveries
        Attempts to deliver a message, by what came of them: delivered, failed, dead.
    delivered_seconds
        Time from a message being enqueued to its being taken.
    outbox_waiting, outbox_dead, outbox_oldest
        Messages that wait, dead letters, and how long the first message has waited, seconds.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tagtide_http_requests", "Replies sent", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "tagtide_http_request_seconds",
            "Time to the end of the reply",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.events = Counter("tagtide_events", "Events posted", ["result"], registry=self.registry)
        self.failures = Counter("tagtide_failures", "Failures inside", ["part"], registry=self.registry)
        self.waiting_rows = Gauge(
            "tagtide_waiting_events", "Events that wait to be written", registry=self.registry
        )
        self.remembered_seconds = Histogram(
            "tagtide_post_to_memory_seconds",
            "Time from a post to its events being durable and in the memories",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.waiting_customers = Gauge(
            "tagtide_waiting_customers", "Customers whose tags are to be evaluated", registry=self.registry
        )
        self.tagging_lag = Gauge(
            "tagtide_tagging_lag_seconds",
            "How long the first customer has waited for its tags",
            registry=self.registry,
        )
        self.triggers = Counter("tagtide_triggers", "Triggers fired", ["result"], registry=self.registry)
        self.deliveries = Counter(
            "tagtide_deliveries", "Attempts to deliver a message", ["result"], registry=self.registry
        )
        self.delivered_seconds = Histogram(
            "tagtide_enqueued_to_delivered_seconds",
            "Time from a message being enqueued to its being taken",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.outbox_waiting = Gauge(
            "tagtide_outbox_waiting", "Messages that wait to be delivered", registry=self.registry
        )
        self.outbox_dead = Gauge("tagtide_outbox_dead", "Dead letters", registry=self.registry)
        self.outbox_oldest = Gauge(
            "tagtide_outbox_oldest_seconds",
            "How long the first message has waited",
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return all measures in Prometheus' text format."""
        return generate_latest(self.registry)
