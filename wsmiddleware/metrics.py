"""What connections do, in numbers: for statsd, for Prometheus, for whoever asks.

Nothing is counted where messages pass. A WebSocket keeps its own numbers: they are
added here when it has ended, and those of the open ones are summed when somebody asks.

    gunicorn's statsd, and Prometheus with several processes: told every `interval`
    Prometheus with one process: asks
"""

import atexit
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

import gevent

from wsmiddleware.connections import Connections, connections
from wsmiddleware.reactor import GeventReactor
from wsmiddleware.websocket import WebSocket

__all__ = ["METRICS", "Metric", "Metrics", "Observer", "Reading", "metrics"]

logger = logging.getLogger("wsmiddleware")


class Metric(NamedTuple):
    """Name a number; `label` names what tells apart several numbers of one name."""

    name: str
    kind: str
    text: str
    label: str = ""


CONNECTIONS = Metric("connections", "gauge", "WebSockets that are open.")
QUEUE = Metric("send_queue_bytes", "gauge", "Bytes that wait for peers to take them.")
LONGEST_QUEUE = Metric(
    "send_queue_max_bytes", "gauge", "Bytes that wait for the slowest peer."
)
MESSAGES = Metric("messages", "counter", "Messages.", "direction")
BYTES = Metric("bytes", "counter", "Bytes on the wire.", "direction")
DROPPED = Metric("dropped_messages", "counter", "Messages that overflow has dropped.")
REFUSALS = Metric("refusals", "counter", "Handshakes that were refused.", "status")
CLOSES = Metric("closes", "counter", "Connections that ended.", "code")

METRICS = (
    CONNECTIONS,
    QUEUE,
    LONGEST_QUEUE,
    MESSAGES,
    BYTES,
    DROPPED,
    REFUSALS,
    CLOSES,
)

Reading: TypeAlias = Mapping[Metric, Mapping[str, int]]
"""The numbers at one moment, by metric and by the value of its label, "" for none."""

Observer: TypeAlias = Callable[[Reading], None]
"""Is told a reading every now and then."""


class Metrics:
    """Count for one process; `observers` are told every `interval` seconds."""

    def __init__(self, connections: Connections) -> None:
        self.observers: list[Observer] = []
        self._connections = connections
        self._counts: dict[Metric, Counter[str]] = {
            metric: Counter() for metric in METRICS if metric.kind == "counter"
        }
        self._interval = 0.0
        self._is_started = False

    # Counting

    def refused(self, status: str) -> None:
        """Count a handshake that was answered with an HTTP status."""
        self._counts[REFUSALS][status[:3]] += 1

    def ended(self, websocket: WebSocket) -> None:
        """Count a connection that is no longer among the open ones."""
        _add(self._counts, websocket)
        self._counts[CLOSES][str(websocket.close_code)] += 1

    def read(self) -> Reading:
        """Return the numbers of this moment."""
        counts = {metric: Counter(count) for metric, count in self._counts.items()}
        queues = []
        # Whoever asks may be another thread.
        for websocket in tuple(self._connections.open):
            _add(counts, websocket)
            queues.append(websocket.buffered_amount)
        return {
            CONNECTIONS: {"": len(queues)},
            QUEUE: {"": sum(queues)},
            LONGEST_QUEUE: {"": max(queues, default=0)},
            **counts,
        }

    # Telling

    def start(self, worker: Any, interval: float | None) -> None:
        """Find out who wants to know; the second time does nothing.

        `worker` is gunicorn's, False where there is none; None as `interval` tells
        nobody.
        """
        if self._is_started:
            return
        self._is_started = True
        if interval is None:
            return
        self._interval = interval
        if _has_statsd(worker):
            self.observers.append(Statsd(worker.log))
        try:
            self._start_prometheus()
        except Exception as error:
            logger.warning("no metrics for Prometheus: %s", error)
        atexit.register(self.publish)
        self._schedule()

    def _start_prometheus(self) -> None:
        try:
            import prometheus_client.core
        except ImportError:
            return
        # What prometheus_client itself goes by
        if any(name.upper() == "PROMETHEUS_MULTIPROC_DIR" for name in os.environ):
            self.observers.append(PrometheusFiles(prometheus_client))
        else:
            collector = PrometheusCollector(prometheus_client, self)
            prometheus_client.REGISTRY.register(collector)

    def _schedule(self) -> None:
        when = monotonic() + self._interval
        GeventReactor.current().call_at(when, self._on_time)

    def _on_time(self) -> None:
        # An observer may block, which nothing may in the loop.
        gevent.spawn(self.publish)
        self._schedule()

    def publish(self) -> None:
        """Tell the observers now."""
        if not self.observers:
            return
        reading = self.read()
        for observer in self.observers:
            try:
                observer(reading)
            except Exception as error:
                logger.warning("metrics are not taken: %s", error)


def _add(counts: Mapping[Metric, Counter[str]], websocket: WebSocket) -> None:
    counts[MESSAGES]["received"] += websocket.messages_received
    counts[MESSAGES]["sent"] += websocket.messages_sent
    counts[BYTES]["received"] += websocket.bytes_received
    counts[BYTES]["sent"] += websocket.bytes_sent
    counts[DROPPED][""] += websocket.messages_dropped


class Growth:
    """Tell how much counters have grown since the last reading."""

    def __init__(self) -> None:
        self._last: dict[tuple[Metric, str], int] = {}

    def since_last(self, reading: Reading) -> Iterator[tuple[Metric, str, int]]:
        """Yield the metric, the label's value and by how much it has grown."""
        for metric, values in reading.items():
            if metric.kind != "counter":
                continue
            for label, value in values.items():
                grown = value - self._last.get((metric, label), 0)
                self._last[metric, label] = value
                if grown:
                    yield metric, label, grown


def _has_statsd(worker: Any) -> bool:
    # gunicorn's logger is its client of statsd; a logger of the user's may be none.
    log = getattr(worker, "log", None)
    return hasattr(log, "increment") and bool(worker.cfg.statsd_host)


class Statsd:
    """Tell gunicorn's statsd.

    Counters of all workers add up in statsd; of a gauge it keeps what was said last,
    so each worker has its own, named with its process id.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._growth = Growth()

    def __call__(self, reading: Reading) -> None:
        """Send what has grown, and every gauge."""
        for metric, label, grown in self._growth.since_last(reading):
            parts = ["wsmiddleware", metric.name, label]
            self._log.increment(".".join(filter(None, parts)), grown)
        for metric, values in reading.items():
            if metric.kind == "gauge":
                name = f"wsmiddleware.{os.getpid()}.{metric.name}"
                self._log.gauge(name, values[""])


class PrometheusFiles:
    """Write to the files that prometheus_client's processes share."""

    def __init__(self, client: Any) -> None:
        self._growth = Growth()
        self._metrics = {
            metric: _prometheus_metric(client, metric) for metric in METRICS
        }

    def __call__(self, reading: Reading) -> None:
        """Write what has grown, and every gauge."""
        for metric, label, grown in self._growth.since_last(reading):
            target = self._metrics[metric]
            (target.labels(label) if metric.label else target).inc(grown)
        for metric, values in reading.items():
            if metric.kind == "gauge":
                self._metrics[metric].set(values[""])


def _prometheus_metric(client: Any, metric: Metric) -> Any:
    name = f"wsmiddleware_{metric.name}"
    if metric.kind == "counter":
        return client.Counter(name, metric.text, [metric.label] if metric.label else [])
    mode = "livemax" if metric is LONGEST_QUEUE else "livesum"
    return client.Gauge(name, metric.text, multiprocess_mode=mode)


class PrometheusCollector:
    """Answer prometheus_client in the process that is asked."""

    def __init__(self, client: Any, metrics: Metrics) -> None:
        self._core = client.core
        self._metrics = metrics

    def describe(self) -> Iterator[Any]:
        """Yield the metrics without their values."""
        for metric in METRICS:
            yield self._family(metric)

    def collect(self) -> Iterator[Any]:
        """Yield the metrics with the values of this moment."""
        for metric, values in self._metrics.read().items():
            family = self._family(metric)
            for label, value in values.items():
                family.add_metric([label] if metric.label else [], value)
            yield family

    def _family(self, metric: Metric) -> Any:
        kinds = {
            "counter": self._core.CounterMetricFamily,
            "gauge": self._core.GaugeMetricFamily,
        }
        labels = [metric.label] if metric.label else []
        name = f"wsmiddleware_{metric.name}"
        return kinds[metric.kind](name, metric.text, labels=labels)


metrics = Metrics(connections)
"""The metrics of this process."""
