"""What statsd and Prometheus are told, by real servers."""

import contextlib
import os
import re
import signal
import socket
import threading
import time

import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from . import peers
from .conftest import HERE, search_path
from .documents import settings_of_gunicorn

# How often reports come, where the test waits for one.
SOON = {"WSMIDDLEWARE_METRICS_INTERVAL": "0.1"}


def scrape(server):
    """Ask for the metrics page; return its samples of ours."""
    text = server.get("/metrics").body.decode()
    return {
        (sample.name.removeprefix("wsmiddleware_"), *sample.labels.values()): int(
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("wsmiddleware_")
    }


def talk(server):
    """Leave one connection open and one closed, and be refused three times."""
    opened = server.open("13")
    opened.send("hello")
    assert opened.receive() == "hello"
    closed = server.open("55", origin=server.origin)
    closed.send("draft")
    assert closed.receive() == "draft"
    closed.close()
    failed = server.open("13", "/report-close")
    failed.send_frame(3)
    assert failed.read_frame().code == 1002
    failed.wire.close()
    for path, fields in {
        "/echo": [("Origin", "http://evil.example")],
        "/unauthorized": [],
        "/raises-early": [],
    }.items():
        client = server.client("13", path, fields=fields)
        client.wire.send(client.request())
        assert peers.read_response(client.wire).status in (403, 401, 500)
    server.access_lines("/report-close")
    return opened


def check_talk(samples):
    """Compare with what `talk` did."""
    assert samples["messages_total", "received"] == 2
    assert samples["messages_total", "sent"] == 2
    # A frame of draft 55, one of RFC 6455 with its mask, a bad one and a close
    assert samples["bytes_total", "received"] >= 7 + 11 + 6
    assert samples["bytes_total", "sent"] > samples["bytes_total", "received"]
    assert samples["closes_total", "1002"] == 1
    assert samples["closes_total", "1005"] == 1
    assert samples["refusals_total", "403"] == 1
    assert samples["refusals_total", "401"] == 1
    assert samples["connections",] == 1
    assert samples["send_queue_bytes",] == 0


def wait_for_talk(server):
    """Wait until the numbers are those of `talk`: each worker tells its own."""
    deadline = time.monotonic() + peers.PATIENCE
    while True:
        try:
            check_talk(scrape(server))
        except (AssertionError, KeyError):
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.05)


def open_in(folder, pid):
    """Return how many WebSockets a worker has told that it has open."""
    path = folder / f"gauge_livesum_{pid}.db"
    values = MmapedDict.read_all_values_from_file(path) if path.exists() else []
    name = '"wsmiddleware_connections"'
    return sum(value for key, value, *_ in values if name in key)


@pytest.mark.parametrize("kind", ["ours", "gevent", "gevent_pywsgi", "pywsgi"])
def test_prometheus_asks_one_process(start, kind):
    server = start(kind, "measured:app")
    opened = talk(server)
    check_talk(scrape(server))
    opened.send("counted while it is open")
    opened.receive()
    assert scrape(server)["messages_total", "received"] == 3
    opened.close()
    peers.until(lambda: scrape(server)["connections",] == 0)
    samples = scrape(server)
    assert samples["messages_total", "received"] == 3
    assert samples["closes_total", "1000"] == 1


def test_send_queues_and_what_they_drop(start):
    drops = {"WSMIDDLEWARE_OVERFLOW": "drop_newest"}
    server = start("ours", "measured:app", env=drops)
    stalled = server.open("13", "/broadcast")
    stalled.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    speaker = server.open("13", "/broadcast")
    bound = 1 << 16
    for number in range(200):
        speaker.send("x" * bound)
        if number % 20 == 0:
            speaker.wire.is_silent(0.01)
        while not speaker.wire.is_silent(0):
            speaker.receive()
    peers.until(lambda: scrape(server)["dropped_messages_total",] > 0)
    samples = scrape(server)
    assert samples["connections",] == 2
    assert 0 < samples["send_queue_max_bytes",] <= 3 * bound
    assert samples["send_queue_bytes",] >= samples["send_queue_max_bytes",]
    speaker.wire.close()
    stalled.wire.close()


@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_prometheus_asks_one_of_several_processes(start, tmp_path, kind):
    folder = tmp_path / "metrics"
    folder.mkdir()
    server = start(
        kind,
        "measured:app",
        *("--workers", "2"),
        *("--config", str(settings_of_gunicorn(tmp_path, "mark_process_dead"))),
        env={**SOON, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    talk(server)
    wait_for_talk(server)
    workers = server.workers()
    clients = []

    def both_have_some():
        clients.append(server.open("13"))
        return all(open_in(folder, pid) for pid in workers)

    peers.until(both_have_some)
    count = len(clients) + 1
    peers.until(lambda: scrape(server)["connections",] == count)
    os.kill(workers[0], signal.SIGKILL)
    server.log.wait("Worker ready", server.mark)
    peers.until(lambda: scrape(server)["connections",] < count)
    assert scrape(server)["messages_total", "received"] == 2
    for client in clients:
        client.wire.close()


class Statsd:
    """A statsd that keeps what it is told.

    It listens all the time: the system keeps only so much for it, and lets go of more.
    """

    def __init__(self, sink):
        self.sink = sink
        self.counters = {}
        self.gauges = {}
        self.ended = False
        self.listening = threading.Thread(target=self.listen)

    def __enter__(self):
        self.listening.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.listening.join()

    def listen(self):
        while not self.ended:
            with contextlib.suppress(TimeoutError):
                self.note(self.sink.recv(65536).decode())

    def note(self, line):
        name, value, kind = re.fullmatch(r"(.+):(-?[\d.]+)\|(\w+).*", line).groups()
        if kind == "g":
            self.gauges[name] = int(value)
        elif kind == "c":
            self.counters[name] = self.counters.get(name, 0) + int(value)

    def wait(self, condition):
        deadline = time.monotonic() + peers.PATIENCE
        while not condition():
            assert time.monotonic() < deadline, (self.counters, self.gauges)
            time.sleep(0.02)


@pytest.fixture
def statsd():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(0.1)
        with Statsd(sink) as statsd:
            yield statsd


@pytest.mark.parametrize("kind", ["ours", "gevent"])
def test_statsd_is_told(start, statsd, kind):
    place = f"127.0.0.1:{statsd.sink.getsockname()[1]}"
    server = start(kind, "apps:app", "--statsd-host", place, env=SOON)
    opened = talk(server)
    (pid,) = server.workers()
    gauge = f"wsmiddleware.{pid}.connections"
    told = statsd.counters
    statsd.wait(lambda: statsd.gauges.get(gauge) == 1)
    statsd.wait(lambda: told.get("wsmiddleware.messages.received") == 2)
    statsd.wait(lambda: told.get("wsmiddleware.closes.1002") == 1)
    statsd.wait(lambda: told.get("wsmiddleware.refusals.403") == 1)
    statsd.wait(lambda: told.get("wsmiddleware.messages.sent") == 2)
    received, sent = "wsmiddleware.bytes.received", "wsmiddleware.bytes.sent"
    statsd.wait(lambda: told.get(sent, 0) > told.get(received, 0) > 20)
    opened.wire.close()
    statsd.wait(lambda: statsd.gauges[gauge] == 0)
    statsd.wait(lambda: told.get("wsmiddleware.closes.1006") == 1)


def test_last_numbers_are_told_at_the_end(start, statsd):
    """The worker ends long before its next report is due."""
    place = f"127.0.0.1:{statsd.sink.getsockname()[1]}"
    server = start(
        *("ours", "apps:app", "--statsd-host", place),
        env={"WSMIDDLEWARE_METRICS_INTERVAL": "600"},
    )
    client = server.open("13")
    client.send("hello")
    assert client.receive() == "hello"
    server.signal(signal.SIGTERM)
    assert client.expect_close() == 1001
    statsd.wait(lambda: statsd.counters.get("wsmiddleware.closes.1001") == 1)
    statsd.wait(lambda: any("send_queue_max" in name for name in list(statsd.gauges)))
    names = [name for name in list(statsd.gauges) if name.endswith(".connections")]
    assert len(names) == 1
    statsd.wait(lambda: statsd.gauges[names[0]] == 0)


def test_other_observers_are_told(start, tmp_path):
    (tmp_path / "observing.py").write_text(
        "import apps\n"
        "from wsmiddleware.metrics import metrics\n"
        "def tell(reading):\n"
        "    print({m.name: dict(v) for m, v in reading.items()}, flush=True)\n"
        "metrics.observers.append(tell)\n"
        "app = apps.app\n"
    )
    paths = {"PYTHONPATH": search_path(tmp_path, HERE)}
    server = start("ours", "observing:app", env={**SOON, **paths})
    client = server.open("13")
    server.log.wait("^{'connections': {'': 1}", server.mark)
    client.close()
    server.log.wait("^{'connections': {'': 0}.*'closes': {'1000': 1}", server.mark)


def test_no_metrics_where_none_are_wanted(start, tmp_path):
    server = start(
        *("ours", "measured:app"),
        env={
            "WSMIDDLEWARE_METRICS_INTERVAL": "none",
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        },
    )
    server.open("13").close()
    assert scrape(server) == {}


def test_folder_for_the_metrics_that_is_missing(start, tmp_path):
    """It is said once, and WebSocket goes on."""
    missing = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "missing")}
    server = start("ours", "apps:app", env=missing)
    server.open("13").close()
    server.log.wait("no metrics for Prometheus.*missing")
    server.settle()
    assert len(server.log.find("no metrics for Prometheus.*missing")) == 1
    assert not server.log.find("Traceback")
