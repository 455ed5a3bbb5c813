"""Counting and telling, without a server; `server/test_metrics.py` has the servers."""

import logging
from types import SimpleNamespace

import pytest

from wsmiddleware.connections import Connections
from wsmiddleware.metrics import (
    BYTES,
    CLOSES,
    CONNECTIONS,
    DROPPED,
    LONGEST_QUEUE,
    MESSAGES,
    METRICS,
    QUEUE,
    REFUSALS,
    Growth,
    Metrics,
)


def connection(**numbers):
    """Make what stands in for a WebSocket: its numbers."""
    defaults = {
        "messages_received": 0,
        "messages_sent": 0,
        "messages_dropped": 0,
        "bytes_received": 0,
        "bytes_sent": 0,
        "buffered_amount": 0,
        "close_code": None,
    }
    return SimpleNamespace(**{**defaults, **numbers})


@pytest.fixture
def metrics():
    connections = Connections()
    connections.open = []
    metrics = Metrics(connections)
    metrics.open = connections.open
    return metrics


def test_every_metric_is_in_every_reading(metrics):
    reading = metrics.read()
    assert set(reading) == set(METRICS)
    assert reading[CONNECTIONS] == {"": 0}
    assert reading[LONGEST_QUEUE] == {"": 0}


def test_open_connections_are_summed_when_asked(metrics):
    metrics.open += [
        connection(messages_received=2, bytes_received=20, buffered_amount=5),
        connection(messages_received=3, bytes_received=30, buffered_amount=7),
    ]
    reading = metrics.read()
    assert reading[CONNECTIONS] == {"": 2}
    assert reading[QUEUE] == {"": 12}
    assert reading[LONGEST_QUEUE] == {"": 7}
    assert reading[MESSAGES] == {"received": 5, "sent": 0}
    assert reading[BYTES] == {"received": 50, "sent": 0}
    assert metrics.read() == reading, "asking has changed the numbers"


def test_no_number_goes_back_when_a_connection_ends(metrics):
    ending = connection(messages_sent=4, bytes_sent=40, messages_dropped=1)
    metrics.open.append(ending)
    before = metrics.read()
    metrics.open.remove(ending)
    ending.close_code = 1000
    metrics.ended(ending)
    after = metrics.read()
    for metric in (MESSAGES, BYTES, DROPPED):
        assert after[metric] == before[metric]
    assert after[CONNECTIONS] == {"": 0}
    assert after[CLOSES] == {"1000": 1}


def test_refusals_are_counted_by_status(metrics):
    for status in ("403 Forbidden", "403 Forbidden", "503 Service Unavailable"):
        metrics.refused(status)
    assert metrics.read()[REFUSALS] == {"403": 2, "503": 1}


def test_growth_is_told_once(metrics):
    growth = Growth()
    metrics.refused("403 Forbidden")
    assert list(growth.since_last(metrics.read())) == [(REFUSALS, "403", 1)]
    assert list(growth.since_last(metrics.read())) == []
    metrics.refused("403 Forbidden")
    metrics.refused("401 Unauthorized")
    assert set(growth.since_last(metrics.read())) == {
        (REFUSALS, "403", 1),
        (REFUSALS, "401", 1),
    }


def test_an_observer_that_fails_does_not_keep_the_others_from_knowing(metrics, caplog):
    told = []

    def fail(reading):
        raise OSError("no space left")

    metrics.observers += [fail, told.append]
    with caplog.at_level(logging.WARNING, "wsmiddleware"):
        metrics.publish()
    assert told == [metrics.read()]
    assert caplog.messages == ["metrics are not taken: no space left"]
