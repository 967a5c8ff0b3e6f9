"""What a server counts, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "efficientnet_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "efficientnet_request_seconds", "Time of a request by route", ["route"], buckets=_SECONDS, registry=registry
        )
        self.together = Histogram(
            "efficientnet_images_together", "Images that were predicted together, by model", ["model"], buckets=_IMAGES,
            registry=registry,
        )  # fmt: skip
        self._waiting = Gauge("efficientnet_waiting_images", "Images that wait, by model", ["model"], registry=registry)

    def watch(self, waiting: Mapping[str, Callable[[], float]]) -> None:
        """Report the number of waiting images of each model, by functions that return it."""
        for model, count in waiting.items():
            self._waiting.labels(model).set_function(count)

    def text(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self._registry)
