"""What the server tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counters of one server; ``text`` is how they are read."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "simsearch_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "simsearch_request_seconds",
            "Time from the whole request to the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_texts = Histogram(
            "simsearch_batch_texts",
            "Texts computed at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self._batch_seconds = Counter(
            "simsearch_batch_seconds", "Time spent computing.", registry=registry
        )
        self._waiting = Gauge(
            "simsearch_waiting_tokens", "Tokens that wait, about.", registry=registry
        )
        self._documents = Gauge("simsearch_documents", "Documents in the index.", registry=registry)
        self._generation = Gauge("simsearch_generation", "Commits of the index.", registry=registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        """A batch was computed."""
        self._batch_texts.observe(texts)
        self._batch_seconds.inc(seconds)

    def waiting(self, tokens: int) -> None:
        """So many tokens, about, are waiting now."""
        self._waiting.set(tokens)

    def index(self, documents: int, generation: int) -> None:
        """What the index holds now."""
        self._documents.set(documents)
        self._generation.set(generation)

    def text(self) -> bytes:
        """All of them in Prometheus' text format, UTF-8."""
        return generate_latest(self._registry)
