"""Opening handshakes of every version against every server, to the byte."""

import pytest

from . import peers

VERSIONS = ["55", "76", "7", "8", "13"]


def connect(server, version, path="/echo", **handshake):
    """Make a client whose origin is the server's own."""
    handshake.setdefault("origin", server.origin)
    return server.client(version, path, **handshake)


def expect_echo(client, message="h\N{LATIN SMALL LETTER E WITH ACUTE}llo \U0001f40d"):
    client.send(message)
    assert client.receive() == message


@pytest.mark.parametrize("version", VERSIONS)
def test_request_in_one_segment(server, version):
    client = connect(server, version)
    client.wire.send(client.request())
    client.verify()
    expect_echo(client)
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_request_byte_by_byte(server, version):
    client = connect(server, version)
    client.wire.send_bytewise(client.request())
    client.verify()
    for byte in (client.encode("slow"), client.encode("")):
        client.wire.send_bytewise(byte)
    assert [client.receive(), client.receive()] == ["slow", ""]
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_behind_the_handshake_in_the_same_segment(server, version):
    client = connect(server, version)
    messages = ["early bird", "", "x" * 300]
    frames = b"".join(client.encode(message) for message in messages)
    client.wire.send(client.request() + frames)
    client.verify()
    assert [client.receive() for _ in messages] == messages
    expect_echo(client)
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_half_a_frame_behind_the_handshake(server, version):
    client = connect(server, version)
    frame = client.encode("half of this is early")
    client.wire.send(client.request() + frame[:9])
    client.verify()
    client.wire.send(frame[9:])
    assert client.receive() == "half of this is early"
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_more_frames_behind_the_handshake_than_a_server_reads_ahead(server, version):
    client = connect(server, version)
    messages = [f"{number}:" + "y" * 1000 for number in range(40)]
    frames = b"".join(client.encode(message) for message in messages)
    client.wire.send(client.request() + frames)
    client.verify()
    assert [client.receive() for _ in messages] == messages
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_and_the_end_behind_the_handshake(server, version):
    """A client may say all that it has to say, and close, in one segment."""
    client = connect(server, version)
    if version == "55":
        ending, farewell = b"", b""
    elif version == "76":
        ending = farewell = b"\xff\x00"
    else:
        ending = peers.encode_frame(peers.CLOSE, peers.close_payload(1000))
        farewell = b"\x88\x02\x03\xe8"
    client.wire.send(client.request() + client.encode("all of it") + ending)
    if version == "55":
        client.wire.end_of_writing()
    client.verify()
    assert client.receive() == "all of it"
    assert client.wire.read_to_end() == farewell


def test_answer_to_draft_55_is_exact(server):
    client = connect(server, "55", "/echo?a=1&b=%20c", protocol="v1.chat")
    client.wire.send(client.request())
    expected = (
        "HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        "Upgrade: WebSocket\r\n"
        "Connection: Upgrade\r\n"
        f"WebSocket-Origin: {server.origin}\r\n"
        f"WebSocket-Location: ws://{server.host}/echo?a=1&b=%20c\r\n"
        "WebSocket-Protocol: v1.chat\r\n"
        "\r\n"
    ).encode()
    assert client.wire.read_through(b"\r\n\r\n") == expected
    expect_echo(client)
    client.close()


def test_answer_to_draft_55_without_a_protocol_is_exact(server):
    client = connect(server, "55", "/echo")
    client.wire.send(client.request())
    expected = (
        "HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
        "Upgrade: WebSocket\r\n"
        "Connection: Upgrade\r\n"
        f"WebSocket-Origin: {server.origin}\r\n"
        f"WebSocket-Location: ws://{server.host}/echo\r\n"
        "\r\n"
    ).encode()
    assert client.wire.read_through(b"\r\n\r\n") == expected
    client.close()


def test_frames_to_draft_55_are_exact(server):
    client = connect(server, "55").connect()
    # Types 01 to 7F are read and discarded, types 80 to FF skipped by their length.
    client.wire.send(b"\x00one\xff\x01two\xff\x80\x03333\x00four\xff")
    assert client.wire.read(11) == b"\x00one\xff\x00four\xff"
    client.wire.send(b"\x00a\x80b\xff")
    assert client.receive() == "a\N{REPLACEMENT CHARACTER}b"
    client.close()


def test_location_leaves_the_default_port_out(shared):
    """Section 5.1: "Do not include the port if it is the default port"."""
    server = shared("ours")
    client = connect(server, "55", origin="http://example.com")
    client.host = "example.com"
    client.connect()
    assert client.answered_fields["websocket-location"] == "ws://example.com/echo"
    client.close()


@pytest.mark.parametrize(
    ("key1", "key2", "key3", "answer"),
    [
        (
            "18x 6]8vM;54 *(5:  {   U1]8  z [  8",
            "1_ tx7X d  <  nw  334J702) 7]o}` 0",
            b"Tm[K T2u",
            b"fQJ,fN/4F4!~K~MH",
        ),
        (
            "4 @1  46546xW%0l 1 5",
            "12998 5 Y3 1  .P00",
            b"^n:ds[4U",
            b"8jKS'y:G*Co,Wxa-",
        ),
    ],
)
def test_answer_to_draft_76_is_exact(server, key1, key2, key3, answer):
    client = connect(server, "76", "/echo?x=y")
    client.keys, client.key3 = [key1, key2], key3
    client.wire.send(client.request())
    head = client.wire.read_through(b"\r\n\r\n").decode()
    lines = head.split("\r\n")
    assert lines[:3] == [
        "HTTP/1.1 101 WebSocket Protocol Handshake",
        "Upgrade: WebSocket",
        "Connection: Upgrade",
    ]
    assert sorted(lines[3:]) == [
        "",
        "",
        f"Sec-WebSocket-Location: ws://{server.host}/echo?x=y",
        f"Sec-WebSocket-Origin: {server.origin}",
    ]
    assert client.wire.read(16) == answer
    expect_echo(client)
    client.close()


def test_head_of_draft_76_is_sent_before_key3_arrives(server):
    """A proxy may hold key3 back until it has seen the 101."""
    client = connect(server, "76")
    client.wire.send(client.request_head())
    client.verify_head()
    assert client.wire.is_silent(0.05), "an answer to a challenge that is not there"
    client.wire.send(client.key3[:3])
    assert client.wire.is_silent(0.05), "an answer to three bytes of eight"
    client.wire.send(client.key3[3:] + client.encode("behind key3"))
    client.verify_answer()
    assert client.receive() == "behind key3"
    client.close()


@pytest.mark.parametrize("split", range(1, 8))
def test_key3_is_split_by_the_segment(shared, split):
    client = connect(shared("ours"), "76")
    client.wire.send(client.request_head() + client.key3[:split])
    client.verify_head()
    client.wire.send(client.key3[split:])
    client.verify_answer()
    client.close()


@pytest.mark.parametrize("seed", range(25))
def test_generated_keys_of_draft_76(shared, seed):
    client = connect(shared("ours"), "76", seed=seed).connect()
    client.close()


def test_client_of_draft_76_that_ends_tcp_without_the_closing_handshake(server):
    client = connect(server, "76").connect()
    expect_echo(client)
    client.wire.end_of_writing()
    assert client.wire.read_to_end() in (b"", b"\xff\x00")


@pytest.mark.parametrize(
    "fields",
    [
        [("Connection", "keep-alive, Upgrade")],
        [("Connection", "upgrade")],
        [("Connection", "keep-alive"), ("Connection", "UPGRADE")],
    ],
    ids=["firefox", "lower case", "two lines"],
)
def test_connection_is_a_list_of_tokens_in_any_case(server, fields):
    client = connect(server, "13")
    request = client.request().decode()
    replaced = "".join(f"{name}: {value}\r\n" for name, value in fields)
    client.wire.send(request.replace("Connection: Upgrade\r\n", replaced).encode())
    client.verify()
    expect_echo(client)
    client.close()


@pytest.mark.parametrize("upgrade", ["WebSocket", "WEBSOCKET", "h2c, websocket"])
def test_upgrade_is_a_list_of_tokens_in_any_case(server, upgrade):
    client = connect(server, "13")
    request = client.request().decode()
    client.wire.send(request.replace("e: websocket", f"e: {upgrade}").encode())
    client.verify()
    expect_echo(client)
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_application_is_told(server, version):
    client = connect(server, version, "/info?q=1").connect()
    facts = client.receive()
    assert f'"version": "{version}"' in facts
    assert f'"origin": "{server.origin}"' in facts
    assert '"path": "/info' in facts
    assert '"closed": false' in facts
    assert '"same environ": true' in facts
    client.expect_close()


def test_websocket_is_absent_on_an_ordinary_request(server):
    assert server.get("/has-websocket").body == b"False"


# ---- subprotocols


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["v1.chat"], "v1.chat"),
        (["v1.chat", "v2.chat"], "v2.chat"),
        (["other", "v1.chat"], "v1.chat"),
        (["other"], None),
        (["V1.CHAT"], None),
        ([], None),
    ],
)
def test_subprotocol_is_the_servers_first_that_was_offered(server, offered, chosen):
    client = connect(server, "13", "/info", protocols=offered).connect()
    assert client.subprotocol == chosen
    expected = f'"subprotocol": "{chosen}"' if chosen else '"subprotocol": null'
    assert expected in client.receive()
    client.expect_close()


@pytest.mark.parametrize("version", ["55", "76"])
def test_subprotocol_of_the_drafts(server, version):
    client = connect(server, version, "/info", protocol="v1.chat").connect()
    assert '"subprotocol": "v1.chat"' in client.receive()
    client.expect_close()


@pytest.mark.parametrize(
    ("version", "field"),
    [("55", "websocket-protocol"), ("76", "sec-websocket-protocol")],
)
def test_subprotocol_of_the_drafts_that_nobody_speaks(shared, version, field):
    client = connect(shared("ours"), version, protocol="other")
    client.wire.send(client.request())
    head = client.wire.read_through(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert field not in dict(peers.parse_head(head)[1])
    client.wire.close()


def test_accept_names_subprotocol_and_fields(server):
    client = connect(
        server, "13", "/accept?v1.chat=42", protocols=["v2.chat", "v1.chat"]
    )
    client.connect()
    assert client.subprotocol == "v1.chat"
    assert client.response.field("x-answer") == "42"
    assert client.receive() == "v1.chat"
    client.expect_close()
