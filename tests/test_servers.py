"""Looking for a server, or for our middleware, behind what others put around it."""

from functools import partial, wraps

import flask
import pytest

from wsmiddleware import WebSocketMiddleware
from wsmiddleware.middleware import find_middleware
from wsmiddleware.servers import find_in


class Target:
    """What is looked for."""

    def start_response(self, status, headers, exc_info=None):
        """Be a bound method, as a server's start_response is."""

    def __call__(self):
        """Be callable, as an application is."""


class Holder:
    """A middleware that keeps what it wraps in an attribute."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self):
        """Be callable."""

    def start_response(self, status, headers, exc_info=None):
        """Be a start_response that hands on to another."""


class Silent(Holder):
    """A holder that is no callable itself; its bound method is handed on."""

    __call__ = None


def closure(inner):
    def outer():
        return inner()

    return outer


def decorated(inner):
    @wraps(inner)
    def outer(*args):
        return None

    return outer


WRAPPINGS = {
    "itself": lambda target: target,
    "bound method": lambda target: target.start_response,
    "closure": closure,
    "partial": lambda target: partial(print, target),
    "attribute": Holder,
    "bound method of a holder": lambda target: Holder(target).start_response,
    "bound method of what is no callable": lambda target: Silent(target).start_response,
    "all of them": lambda target: partial(closure(Holder(closure(target)))),
    "closure of a bound method": lambda target: closure(target.start_response),
    "wraps": lambda target: decorated(closure(target)),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_wrapped_object_is_found(wrap):
    target = Target()
    assert find_in(wrap(target), Target) is target


def test_nothing_is_found_where_nothing_is():
    assert find_in(closure(Holder(partial(print, len))), Target) is None


def test_cycle_ends():
    first = Holder(None)
    first.inner = Holder(first)
    assert find_in(first, Target) is None


def test_cell_that_is_not_assigned_yet():
    def outer():
        return later

    assert find_in(outer, Target) is None
    later = Target()
    assert find_in(outer, Target) is later


def test_proxy_that_stands_for_nothing():
    """flask.request raises an error for every attribute outside of a request."""
    target = Target()
    app = closure(Holder(flask.request))
    app.request = flask.request
    assert find_in(app, Target) is None
    app.target = target
    assert find_in(app, Target) is target


# ---- the middleware of an application, which the worker must not wrap again


def application(environ, start_response):
    """Be an application that nobody wrapped."""


wrapped = WebSocketMiddleware(application)
table = {"/": wrapped}
row = [wrapped]


def names_it(environ, start_response):
    return wrapped(environ, start_response)


def names_its_table(environ, start_response):
    return table["/"](environ, start_response)


def names_its_row(environ, start_response):
    return row[0](environ, start_response)


class Dispatcher:
    """A dispatcher like Werkzeug's: a default, and a table of mounts."""

    def __init__(self, mounts):
        self.mounts = mounts

    def __call__(self, environ, start_response):
        return self.mounts["/"](environ, start_response)


class NamesIt:
    """An application that is an object, and names a global one."""

    def __call__(self, environ, start_response):
        return wrapped(environ, start_response)


@pytest.mark.parametrize(
    "app",
    [
        wrapped,
        names_it,
        names_its_table,
        names_its_row,
        Dispatcher({"/": wrapped}),
        NamesIt(),
        Holder(wrapped),
    ],
    ids=["itself", "global", "table", "row", "mounts", "object", "attribute"],
)
def test_middleware_of_an_application_is_found(app):
    assert find_middleware(app) is wrapped


def test_middleware_of_flask_is_found():
    app = flask.Flask(__name__)
    assert find_middleware(app) is None
    app.wsgi_app = middleware = WebSocketMiddleware(app.wsgi_app)
    assert find_middleware(app) is middleware


def test_application_next_to_a_middleware_is_not_wrapped():
    """That its module has a middleware, too, says nothing about it."""
    assert find_middleware(application) is None
