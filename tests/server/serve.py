"""Run an application on a server that is not gunicorn, in this process.

python serve.py pywsgi|werkzeug MODULE:NAME
"""

from gevent import monkey

if __name__ == "__main__":
    import sys

    kind, application = sys.argv[1:]
    if kind == "pywsgi":
        monkey.patch_all()

import importlib
import logging


def load(application):
    module, _, name = application.partition(":")
    return getattr(importlib.import_module(module), name)


def serve_pywsgi(application):
    import signal

    import gevent
    from gevent.pywsgi import WSGIServer

    server = WSGIServer(("127.0.0.1", 0), load(application))
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port} (1)", flush=True)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


def serve_werkzeug(application):
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, load(application), threaded=True)
    print(f"Listening at: http://127.0.0.1:{server.port} (1)", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    {"pywsgi": serve_pywsgi, "werkzeug": serve_werkzeug}[kind](application)
