"""What a web framework needs so that its ordinary routes can serve WebSocket.

Werkzeug, and so Flask, tells WebSocket requests by their Upgrade header and matches
them only with rules that say `websocket=True`; any other rule gets a 400. A rule
without it that uses `environ["wsgi.websocket"]` is what gevent-websocket's users
write, so for such a rule the header is hidden from the application.
"""

import sys
from collections.abc import Callable, MutableMapping
from typing import Any

from wsmiddleware.servers import find_in

__all__ = ["find_url_map", "hide_upgrade"]


def find_url_map(app: Callable[..., Any]) -> Any:
    """Return the Werkzeug URL map of an application, None if it has none."""
    routing = sys.modules.get("werkzeug.routing")
    return find_in(app, routing.Map) if routing is not None else None


def hide_upgrade(url_map: Any, environ: MutableMapping[str, Any]) -> None:
    """Take HTTP_UPGRADE out of the environ if the route does not expect it."""
    routing = sys.modules["werkzeug.routing"]
    try:
        url_map.bind_to_environ(environ).match()
    except routing.WebsocketMismatch:
        del environ["HTTP_UPGRADE"]
    except Exception:
        return  # not found, a redirect, a bad host: the application will say so
