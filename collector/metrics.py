"""What the collector counts about itself, for Prometheus: one registry per collector, names `vigie_collector_…`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The collector's own counters.

    Attributes:
        registry: Holds all of them.
        received: Messages from the broker, by kind of topic.
        dropped: Messages that were not looked at or not for us, by cause; a device sends its own again.
        stored: Batches that the store took, by lane.
        frames: Observations in batches that the store took.
        duplicates: Batches that the store had already.
        expired: Batches with frames older than the store keeps.
        quarantined: Messages put into quarantine, by cause.
        quarantine_dropped: Messages that the quarantine's limit dropped.
        refused: Batches and pictures refused to their device.
        too_new: Messages of a newer wire version.
        twins: Times that a device's name turned out to be used by two.
        statuses: Births and last wills stored, by state.
        snapshots: Pictures kept.
        resend_requests: Times that a device was asked to send batches again.
        batches_missing: Batches that must exist, did not arrive in time, and that their device does not hold.
        acks: Acks published.
        acks_dropped: Acks that could not be published; the device sends again and gets another.
        write_s: Seconds that a write to the store took.
        write_batches: Batches in a write.
        store_failures: Writes that the store could not take when they came.
        queue_messages: Messages that wait.
        queue_bytes: Their size.
        connected: 1 while there is a connection to the broker.
        store_available: 1 while the store takes what is written.
        last_message_s: When the last message came, in seconds since 1970.
        expired_rows: Rows deleted because they were older than the retention.
    """

    def __init__(self) -> None:
        # The time of a counter's first use is of no use here, and doubles the page.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
        self.registry = CollectorRegistry()
        self.received = self._counter("messages_received", "Messages from the broker.", "kind")
        self.dropped = self._counter("messages_dropped", "Messages not looked at or not for us.", "cause")
        self.stored = self._counter("batches_stored", "Batches that the store took.", "lane")
        self.frames = self._counter("observations_stored", "Observations in batches that the store took.")
        self.duplicates = self._counter("batches_duplicate", "Batches that the store had already.")
        self.expired = self._counter("batches_expired", "Batches with frames older than the store keeps.")
        self.quarantined = self._counter("messages_quarantined", "Messages put into quarantine.", "cause")
        self.quarantine_dropped = self._counter("quarantine_dropped", "Messages that the quarantine's limit dropped.")
        self.refused = self._counter("batches_refused", "Batches and pictures refused to their device.")
        self.too_new = self._counter("messages_too_new", "Messages of a newer wire version.")
        self.twins = self._counter("devices_twice", "Times that a device's name turned out to be used by two.")
        self.statuses = self._counter("statuses_stored", "Births and last wills stored.", "state")
        self.snapshots = self._counter("snapshots_stored", "Pictures kept.")
        self.acks = self._counter("acks_sent", "Acks published.")
        self.acks_dropped = self._counter("acks_dropped", "Acks that could not be published.")
        self.store_failures = self._counter("store_failures", "Writes that the store could not take.")
        self.expired_rows = self._counter("rows_expired", "Rows deleted because they were too old.")
        self.resend_requests = self._counter("resend_requests", "Times that a device was asked to send batches again.")
        self.batches_missing = self._gauge("batches_missing", "Batches that must exist, of which no device says more.")
        self.write_s = Histogram(
            "vigie_collector_write_seconds",
            "Time of a write to the store.",
            registry=self.registry,
            buckets=_BUCKETS_S,
        )
        self.write_batches = Histogram(
            "vigie_collector_write_batches",
            "Batches in a write to the store.",
            registry=self.registry,
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        )
        self.queue_messages = self._gauge("queue_messages", "Messages that wait for the store.")
        self.queue_bytes = self._gauge("queue_bytes", "Size of the messages that wait for the store.")
        self.connected = self._gauge("broker_connected", "1 while there is a connection to the broker.")
        self.store_available = self._gauge("store_available", "1 while the store takes what is written.")
        self.last_message_s = self._gauge(
            "last_message_timestamp_seconds", "When the last message came, in seconds since 1970; 0 before the first."
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"vigie_collector_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"vigie_collector_{name}", meaning, registry=self.registry)
