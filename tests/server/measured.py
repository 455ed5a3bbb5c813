"""The application of `apps` with a page of its metrics, as Prometheus asks for it."""

import os

import apps
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from wsmiddleware import WebSocketMiddleware


def metrics(environ, start_response):
    """Answer with the metrics of this process, or of all that share files."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return make_wsgi_app(registry)(environ, start_response)


def bare(environ, start_response):
    """Answer for the metrics, and leave the rest to `apps`."""
    is_metrics = environ["PATH_INFO"] == "/metrics"
    return (metrics if is_metrics else apps.bare)(environ, start_response)


app = WebSocketMiddleware(bare, max_buffered=1 << 16)
