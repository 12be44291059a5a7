"""What Prometheus is told: requests, films, batches, refusals. Never a name, never an address."""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from cxrlens.evaluation.card import ModelCard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Measures:
    """The server's counters, in a registry of their own.

    Parameters
    ----------
    card
        Names the model that answers.
    """

    def __init__(self, card: ModelCard) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Gauge(
            "cxrlens_model",
            "The model that answers; always 1.",
            ["name", "digest", "backbone", "version"],
            registry=self.registry,
        ).labels(card.name, card.digest, card.backbone, card.cxrlens).set(1)
        self.requests = Counter(
            "cxrlens_requests",
            "Requests by route and status; 499 is a client that hung up.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "cxrlens_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.films = Counter(
            "cxrlens_films", "Films by predicted class.", ["predicted"], registry=self.registry
        )
        self.findings = Counter(
            "cxrlens_findings", "Defects found on films.", ["defect"], registry=self.registry
        )
        self.unread = Counter(
            "cxrlens_films_unread", "Files that could not be read.", registry=self.registry
        )
        self.probability = Histogram(
            "cxrlens_probability",
            "Probability of each class; its drift shows other films than before.",
            ["label"],
            buckets=[tenth / 10 for tenth in range(1, 11)],
            registry=self.registry,
        )
        self.batches = Histogram(
            "cxrlens_batch_films",
            "Films of one call of the network.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.places = Gauge(
            "cxrlens_films_in_work", "Films in the server now.", registry=self.registry
        )
        self._bytes = Gauge(
            "cxrlens_held_bytes",
            "Bytes held now: uploads, decoded films, maps that are kept.",
            ["share"],
            registry=self.registry,
        )

    def count_bytes(self, share: str, taken: Callable[[], float]) -> None:
        """Have a share of the memory asked how much of it is taken."""
        self._bytes.labels(share).set_function(taken)

    def count_film(
        self, predicted: str, probabilities: dict[str, float], defects: Iterable[str]
    ) -> None:
        """Count one predicted film."""
        self.films.labels(predicted).inc()
        for defect in defects:
            self.findings.labels(defect).inc()
        for label, value in probabilities.items():
            self.probability.labels(label).observe(value)

    def text(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self.registry)
