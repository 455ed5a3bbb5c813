"""A gunicorn worker that serves WebSocket: gunicorn's `gevent` worker and a wrapping.

    gunicorn -k wsmiddleware.worker.WebSocketWorker app:app

An application that is not wrapped in `WebSocketMiddleware` gets wrapped; one that is,
is not wrapped twice.
"""

import logging
from typing import Any

from gunicorn.workers.ggevent import GeventWorker

from wsmiddleware.middleware import WebSocketMiddleware
from wsmiddleware.servers import find_in

__all__ = ["WebSocketWorker"]


class WebSocketWorker(GeventWorker):
    """Serve HTTP and WebSocket on greenlets."""

    def load_wsgi(self) -> None:
        """Load the application and see to its middleware."""
        super().load_wsgi()
        _log_with(self.log)
        if find_in(self.wsgi, WebSocketMiddleware) is None:
            self.wsgi: Any = WebSocketMiddleware(self.wsgi)


def _log_with(log: Any) -> None:
    # Unless the user has configured it, our log goes where gunicorn's errors go.
    logger = logging.getLogger("wsmiddleware")
    if not logger.handlers and hasattr(log, "error_log"):
        logger.handlers = list(log.error_log.handlers)
        logger.setLevel(log.error_log.level)
        logger.propagate = False
