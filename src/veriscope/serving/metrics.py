"""What a server counts, in Prometheus' words. No label holds anything that a client sent."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one server; two in a process don't mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "veriscope_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self.request_s = Histogram(
            "veriscope_request_seconds",
            "From a request's header to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.pictures = Counter(
            "veriscope_pictures",
            "Pictures by verdict: real, fake, unsure, error (no verdict), dropped (nobody waited any more).",
            ("verdict",),
            registry=registry,
        )
        self.refused = Counter(
            "veriscope_refused", "Requests without an answer, by the error's code.", ("code",), registry=registry
        )
        self.waiting = Gauge("veriscope_waiting_pictures", "Pictures that wait or are worked on.", registry=registry)
        self.held = Gauge("veriscope_held_bytes", "Bytes of uploads in memory.", registry=registry)
        self.ready = Gauge("veriscope_ready", "1: takes requests.", registry=registry)
        self.batch_size = Histogram(
            "veriscope_batch_pictures",
            "Pictures that the network answered at once.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.network_s = Histogram(
            "veriscope_network_seconds", "Time of one batch in the network.", buckets=_SECONDS, registry=registry
        )
        self.decode_s = Histogram(
            "veriscope_decode_seconds", "Time of decoding one picture.", buckets=_SECONDS, registry=registry
        )

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)
