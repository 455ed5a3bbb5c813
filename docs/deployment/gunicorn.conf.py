"""gunicorn's side of a proxy: whom to believe, and what.

gunicorn -c gunicorn.conf.py app:app
"""

bind = "127.0.0.1:8000"  # or "unix:/run/app/gunicorn.sock"
worker_class = "wsmiddleware.worker.WebSocketWorker"

# The proxies whose X-Forwarded-Proto is believed, and the field that they set. A unix
# socket's peers are always believed.
forwarded_allow_ips = "127.0.0.1,::1"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}

# What follows is for drafts 55 and 76 where they pass the proxy as TCP (HAProxy, and
# nginx's stream), with the PROXY protocol before the request.
proxy_protocol = True
proxy_allow_ips = "127.0.0.1,::1"

# The proxy's ports that are encrypted on the client's side.
SECURE_PORTS = {443, 8056}


def pre_request(worker, req):
    """Take the scheme from the port that the client used.

    What passes as TCP has only the client's own fields, which are not to be believed.
    """
    info = req.proxy_protocol_info
    if info:
        secure = info["proxy_port"] in SECURE_PORTS
        req.scheme = "https" if secure else "http"
        req.headers = [
            (name, value)
            for name, value in req.headers
            if not name.startswith("X-FORWARDED-")
        ]
