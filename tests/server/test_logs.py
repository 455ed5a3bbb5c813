"""What our own log says of connections, refusals and faults, and what it hides."""

import re

import pytest

from . import peers

# Where our log goes without anything being configured: our worker has gunicorn's error
# log for it; serve.py configures the root logger.
LOGGING = ["ours", "pywsgi"]

# What nobody may find in a log
SECRET = "s3cr3t"

LINE = re.compile(
    r'(?P<address>\S+) "GET (?P<path>\S+) HTTP/1.1" version=(?P<version>\d+) '
    r"subprotocol=(?P<subprotocol>\S+) compression=(?P<compression>yes|no) "
    r"received=(?P<received>\d+)/(?P<bytes_received>\d+) "
    r"sent=(?P<sent>\d+)/(?P<bytes_sent>\d+) "
    r"closed_by=(?P<by>\w+) code=(?P<code>\d+) reason=(?P<reason>'.*'|\".*\") "
    r"seconds=(?P<seconds>[\d.]+)$"
)


@pytest.fixture(params=LOGGING)
def server(request, shared):
    return shared(request.param)


def access_line(server):
    """Wait for the line of the one connection; return its parts."""
    server.log.wait(LINE.pattern, server.mark)
    server.settle()
    lines = server.log.find(LINE.pattern, server.mark)
    assert len(lines) == 1, server.log.text(server.mark)
    assert "INFO" in lines[0].string
    return lines[0].groupdict()


def own_lines(server):
    """Return what is in the log but for gunicorn's or pywsgi's own access lines.

    Those have the request as the server's settings say, with its query by default.
    """
    server.settle()
    lines = server.log.since(server.mark)
    return [line for line in lines if "ACCESS" not in line and " - - [" not in line]


@pytest.mark.parametrize("version", ["13", "8", "76", "55"])
def test_connection_that_the_peer_closes(server, version):
    client = server.open(version, "/echo?token=1", origin=server.origin)
    sent = client.encode("hello") + client.encode("again")
    client.wire.send(sent)
    assert [client.receive(), client.receive()] == ["hello", "again"]
    received = client.wire.received
    client.close()
    line = access_line(server)
    assert line["address"] == "127.0.0.1"
    assert line["path"] == "/echo"
    assert (line["version"], line["subprotocol"]) == (version, "-")
    assert (line["received"], line["sent"]) == ("2", "2")
    assert int(line["bytes_received"]) >= len(sent)
    assert int(line["bytes_sent"]) >= received
    assert line["by"] == "peer"
    assert line["code"] == ("1000" if version in ("13", "8") else "1005")
    assert 0 <= float(line["seconds"]) < 10


def test_connection_that_the_application_closes(server):
    client = server.open("13", "/close?4001=enough", protocols=["v1.chat"])
    assert client.expect_close() == 4001
    line = access_line(server)
    assert (line["by"], line["code"], line["reason"]) == ("local", "4001", "'enough'")
    assert line["subprotocol"] == "v1.chat"
    assert (line["received"], line["sent"]) == ("0", "0")


def test_connection_that_is_compressed(server):
    fields = [("Sec-WebSocket-Extensions", "permessage-deflate")]
    client = server.client("13", fields=fields)
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    assert "permessage-deflate" in response.field("sec-websocket-extensions")
    client.close()
    assert access_line(server)["compression"] == "yes"


def test_connection_that_is_lost(server):
    client = server.open("13")
    client.wire.reset()
    line = access_line(server)
    assert (line["by"], line["code"]) == ("peer", "1006")
    assert line["reason"] == "'connection lost'"


def test_reason_of_the_peer_stays_on_its_line(server):
    reason = "\r\nFORGED line \x1b[2J"
    client = server.open("13")
    client.close(4000, reason)
    assert access_line(server)["reason"] == repr(reason)
    assert not server.log.find("^FORGED", server.mark)
    assert not any("\x1b" in line for line in server.log.since(server.mark))


def test_handler_that_fails_has_its_line_too(server):
    server.allowed_faults = ["handler's own fault", "Traceback", "ERROR"]
    client = server.open("13", f"/raises?token={SECRET}")
    client.receive()
    client.send("go")
    assert client.expect_close() == 1011
    line = access_line(server)
    assert (line["by"], line["code"]) == ("local", "1011")
    assert len(server.log.find("RuntimeError: the handler's own", server.mark)) == 1
    found = server.log.find(r'ERROR.*handler of "GET /raises HTTP/1.1"', server.mark)
    assert len(found) == 1


FAULTS = {
    "reserved opcode": (peers.encode_frame(3), 1002, "opcode"),
    "no mask": (peers.encode_frame(peers.TEXT, b"x", mask=False), 1002, "mask"),
    "not UTF-8": (peers.encode_frame(peers.TEXT, b"\xff"), 1007, "UTF-8"),
    "too big": (peers.encode_frame(peers.BINARY, length=1 << 40), 1009, "1048576"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_the_peer_is_logged_once_with_the_rule(server, fault):
    data, code, rule = FAULTS[fault]
    client = server.open("13", f"/echo?token={SECRET}")
    client.wire.send(data)
    assert client.read_close().code == code
    client.wire.close()
    access_line(server)
    lines = server.log.find(rf"/echo: failed with {code}: .*{rule}", server.mark)
    assert len(lines) == 1, server.log.text(server.mark)
    assert "INFO" in lines[0].string


def refuse(server, path, fields):
    with server.connect() as wire:
        wire.send(peers.http_request(path, server.host, fields=fields))
        return peers.read_response(wire)


HYBI = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]
REFUSED = {
    "version": ([("Sec-WebSocket-Version", "99")], 426, "'99'"),
    "origin": (
        [("Sec-WebSocket-Version", "13"), ("Origin", "http://evil.example")],
        403,
        "http://evil.example",
    ),
    "subprotocol": (
        [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Protocol", "a b")],
        400,
        "Sec-WebSocket-Protocol",
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusal_is_logged_with_its_reason(server, reason):
    server.allowed_faults = ["handshake refused"]
    fields, status, word = REFUSED[reason]
    answer = refuse(server, "/some/where?token=1", HYBI + fields)
    assert answer.status == status
    server.settle()
    pattern = rf"WARNING.*/some/where: handshake refused with {status} .*{word}"
    assert len(server.log.find(pattern, server.mark)) == 1


def test_path_stays_on_its_line(server):
    server.allowed_faults = ["handshake refused"]
    path = "/a%0d%0aFORGED%20line%1b[2J"
    assert refuse(server, path, HYBI).status == 426
    server.settle()
    assert not server.log.find("^FORGED", server.mark)
    assert not any("\x1b" in line for line in server.log.since(server.mark))


SECRETS = {
    "cookie": [("Cookie", f"session={SECRET}")],
    "authorization": [("Authorization", f"Bearer {SECRET}")],
    "offered subprotocol": [("Sec-WebSocket-Protocol", f"v1.chat, {SECRET}")],
    "malformed subprotocol": [("Sec-WebSocket-Protocol", f"bearer, {SECRET}/=")],
    "field of a proxy's": [("X-Auth-Token", SECRET)],
}


@pytest.mark.parametrize("place", SECRETS)
@pytest.mark.parametrize("ending", ["good", "fault", "refusal"])
def test_secrets_are_in_no_line_of_ours(server, place, ending):
    server.allowed_faults = ["handshake refused"]
    version = [("Sec-WebSocket-Version", "99" if ending == "refusal" else "13")]
    fields = HYBI + version + SECRETS[place]
    with server.connect() as wire:
        path = f"/echo?token={SECRET}"
        wire.send(peers.http_request(path, server.host, fields=fields))
        status = peers.read_response(wire).status
        if status == 101:
            data = peers.encode_frame(peers.TEXT, SECRET.encode())
            wire.send(data + peers.encode_frame(3 if ending == "fault" else 8))
            wire.read_to_end()
    server.log.wait(LINE.pattern if status == 101 else "refused with", server.mark)
    lines = own_lines(server)
    assert not any(SECRET in line for line in lines)
