"""A chat room on one page: Flask serves the page, and its port is the chat's too.

    gunicorn app:app            # in this folder; gunicorn.conf.py has the settings

Page and server exchange JSON objects, one a message; `type` says which.

    page      join {name, again}    rename {name}    say {text, ref}
    server    welcome {you, people, messages}    joined {person, again}
              renamed {person, before}    left {person}    said {message}

Who is here and what was said live in this process, so the room needs exactly one
worker process. It holds thousands of people all the same: each is a greenlet, not
a thread. More processes would need a store that they share, such as Redis.
"""

import json
import time
import unicodedata
from collections import deque
from itertools import count
from typing import Any

import gevent
from flask import Flask, Response, render_template, request
from gevent.queue import Full, Queue

from wsmiddleware import ConnectionClosed, WebSocketMiddleware

NAME_LENGTH = 24
TEXT_LENGTH = 2000
REF_LENGTH = 40
REMEMBERED = 50  # messages that a newcomer is shown
BACKLOG = 200  # messages that may wait for a slow reader

app = Flask(__name__)


class Guest:
    """Send to one person, in a greenlet of its own: a slow line delays nobody else."""

    def __init__(self, ws: Any, name: str, number: int) -> None:
        self.ws = ws
        self.person: dict[str, Any] = {"id": number, "name": name}
        self.outbox: Queue[str] = Queue(BACKLOG)
        self.writer = gevent.spawn(self.write)

    def tell(self, kind: str, **fields: Any) -> None:
        """Queue a message; somebody who reads too slowly is let go."""
        try:
            self.outbox.put_nowait(json.dumps({"type": kind, **fields}))
        except Full:
            self.ws.start_close(1013, "too slow")

    def write(self) -> None:
        """Send what is queued until the connection closes, or takes nothing more."""
        try:
            while True:
                self.ws.send(self.outbox.get())
        except (ConnectionClosed, TimeoutError):
            self.ws.start_close(1013, "too slow")


class Room:
    """Keep who is here and what was said last."""

    def __init__(self) -> None:
        self.guests: dict[int, Guest] = {}
        self.messages: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        # A page that returns after a restart must not take one person for another.
        self.numbers = count(time.time_ns() // 1000)

    def enter(self, guest: Guest, again: bool) -> None:
        """Show `guest` the room, and the room its guest."""
        people = [other.person for other in self.guests.values()]
        guest.tell(
            "welcome",
            you=guest.person,
            people=[*people, guest.person],
            messages=list(self.messages),
        )
        self.tell_all("joined", person=guest.person, again=again)
        self.guests[guest.person["id"]] = guest

    def leave(self, guest: Guest) -> None:
        """Forget `guest` and tell the others."""
        if self.guests.pop(guest.person["id"], None):
            self.tell_all("left", person=guest.person)

    def rename(self, guest: Guest, name: str) -> None:
        """Give `guest` another name and tell everybody."""
        before = guest.person["name"]
        guest.person = {**guest.person, "name": name}
        self.tell_all("renamed", person=guest.person, before=before)

    def say(self, guest: Guest, text: str, ref: str) -> None:
        """Pass on what `guest` says; `ref` is the page's own name for it."""
        message = {
            "ref": ref,
            "person": guest.person,
            "text": text,
            "time": int(time.time() * 1000),
        }
        self.messages.append(message)
        self.tell_all("said", message=message)

    def tell_all(self, kind: str, **fields: Any) -> None:
        """Tell everybody who is here."""
        for guest in list(self.guests.values()):
            guest.tell(kind, **fields)


room = Room()


def clean(text: object, length: int) -> str:
    """Return `text` without control characters, trimmed, at most `length` long."""
    if not isinstance(text, str):
        return ""
    kept = (c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(kept).strip()[:length]


def clean_name(name: object) -> str:
    """Return `name` on one line, or a name for somebody who has none."""
    return " ".join(clean(name, NAME_LENGTH).split()) or "Somebody"


def parse(message: str | bytes) -> dict[str, Any]:
    """Read a message of the page; anything but a JSON object is an empty one."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@app.get("/")
def page() -> str:
    """Serve the page."""
    return render_template(
        "chat.html", name_length=NAME_LENGTH, text_length=TEXT_LENGTH
    )


@app.route("/chat", websocket=True)
def chat() -> str:
    """Serve one person's connection from their first message to their last."""
    ws = request.environ["wsgi.websocket"]
    guest: Guest | None = None
    try:
        for message in ws:
            match parse(message):
                case {"type": "join", "name": name, **rest} if guest is None:
                    guest = Guest(ws, clean_name(name), next(room.numbers))
                    room.enter(guest, again=bool(rest.get("again")))
                case {"type": "rename", "name": name} if guest is not None:
                    room.rename(guest, clean_name(name))
                case {"type": "say", "text": text, "ref": ref} if guest is not None:
                    if text := clean(text, TEXT_LENGTH):
                        room.say(guest, text, clean(ref, REF_LENGTH))
                case _:
                    ws.close(1008, "not what a page of this chat sends")
    finally:
        if guest is not None:
            room.leave(guest)
            guest.writer.kill()
    return ""


@app.after_request
def harden(response: Response) -> Response:
    """Allow this page its own files and its own WebSocket, nothing else."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


app.wsgi_app = WebSocketMiddleware(app.wsgi_app, max_message_size=16 * 1024)
