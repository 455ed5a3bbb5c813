"""Our core and other implementations: joined, and given the same octets."""

import asyncio

import aiohttp
import pytest
import wire
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from others import IMPLEMENTATIONS, URL, Websockets, Wsproto
from test_handshake import read_request

from wsmiddleware.client_handshake import ClientRequest, client_handshake
from wsmiddleware.deflate import Compression
from wsmiddleware.events import Close, CloseCode, Fail, Ping, Pong
from wsmiddleware.handshake import read_handshake
from wsmiddleware.options import Options
from wsmiddleware.urls import parse_url

CONFIGS = {
    "no compression": None,
    "defaults": Compression(threshold=0),
    "largest windows": Compression(15, 15, threshold=0),
    "smallest windows": Compression(9, 9, threshold=0),
    "no takeover": Compression(
        threshold=0, server_no_context_takeover=True, client_no_context_takeover=True
    ),
}
# what the other side asks for, in the words that websockets and wsproto share
PARAMETERS = {
    "nothing": {},
    "no takeover": {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
    },
    "windows of 10": {"server_max_window_bits": 10, "client_max_window_bits": 10},
}


def connect_to_their_server(core, their, config):
    """Open a connection as a client; return our protocol."""
    request = ClientRequest(parse_url(URL), compression=config)
    handshake = client_handshake("13", request)
    assert their.receive(handshake.request()) == []
    assert handshake.feed(their.take())
    codec = None
    if handshake.compression is not None:
        codec = config.codec(handshake.compression, client=True)
    return core.RFC6455(client=True, deflate=codec)


def accept_their_client(core, their, config):
    """Accept a connection as a server; return our protocol."""
    lines = their.take().decode("latin-1").split("\r\n")
    environ, target = read_request([line for line in lines if line])
    options = Options(compression=config or False)
    handshake = read_handshake(environ, target, options)
    _, head = handshake.accept()
    assert their.receive(head) == []
    codec = None
    if handshake.deflate is not None:
        codec = config.codec(handshake.deflate, client=False)
    return core.RFC6455(client=False, deflate=codec)


def join(core, kind, they_are_client, config, parameters):
    their = kind(they_are_client, config is not None, **parameters)
    connect = accept_their_client if they_are_client else connect_to_their_server
    return connect(core, their, config), their


MESSAGES = st.one_of(
    st.text(max_size=50),
    st.binary(max_size=50),
    st.builds(str.__mul__, st.text(max_size=9), st.integers(0, 200)),
    st.builds(bytes.__mul__, st.binary(max_size=9), st.integers(0, 20000)),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["we", "they", "ping us"]), MESSAGES, st.integers(1, 4)),
    max_size=12,
)


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("they_are", ["client", "server"])
@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
@settings(max_examples=25)
@given(steps=STEPS)
def test_messages_arrive_both_ways(core, kind, they_are, config, parameters, steps):
    if config == "no compression" and parameters != "nothing":
        return
    client = they_are == "client"
    ours, theirs = join(core, kind, client, CONFIGS[config], PARAMETERS[parameters])
    for who, message, pieces in steps:
        if who == "we":
            send = ours.send_text if isinstance(message, str) else ours.send_binary
            assert theirs.receive(send(message)) == [message]
        elif who == "they":
            theirs.send(message, pieces)
            assert ours.receive_data(theirs.take()) == [message]
        else:
            theirs.ping(b"p")
            assert ours.receive_data(theirs.take()) == [Ping(b"p")]
            assert theirs.receive(ours.send_pong(b"p")) == [Pong(b"p")]


@pytest.mark.parametrize("they_are", ["client", "server"])
@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
def test_both_sides_use_compression(core, kind, they_are):
    ours, theirs = join(core, kind, they_are == "client", CONFIGS["defaults"], {})
    assert len(ours.send_text("a" * 1000)) < 100
    theirs.send("a" * 1000)
    assert len(theirs.take()) < 100


@pytest.mark.parametrize("they_are", ["client", "server"])
@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_they_close(core, kind, they_are, code):
    ours, theirs = join(core, kind, they_are == "client", None, {})
    theirs.close(code, "bye")
    assert ours.receive_data(theirs.take()) == [Close(code, "bye")]
    assert theirs.receive(ours.send_close(code)) == [Close(code, "")]


@pytest.mark.parametrize("they_are", ["client", "server"])
@pytest.mark.parametrize("kind", IMPLEMENTATIONS)
@pytest.mark.parametrize("code", [1000, 1011, 3000, 4999])
def test_we_close(core, kind, they_are, code):
    ours, theirs = join(core, kind, they_are == "client", None, {})
    assert theirs.receive(ours.send_close(code, "bye")) == [Close(code, "bye")]


# The same octets

# Where others make something else of a vector, and what. They may: most are about
# limits, about which of two faults counts, or are not checked by them.
LENIENT = "takes a length that is not in its minimal encoding"
LATE = "has the limit apply once the payload has come"
DIFFERENCES = {
    Websockets: {
        "5.2 the top bit of a 64-bit length": "fails with 1009",
        "5.2 a 64-bit length of all ones": "fails with 1009",
        "5.2 16 bits for a length of 0": LENIENT,
        "5.2 16 bits for a length of 125": LENIENT,
        "5.2 64 bits for a length of 0": LENIENT,
        "5.2 64 bits for a length of 125": LENIENT,
        "5.2 64 bits for a length of 126": LENIENT,
        "5.2 64 bits for a length of 2^16-1": LENIENT,
        "5.4 a close between fragments": "takes it for a fault of the message",
        "5.5 pong of 2^16": "waits for the payload",
        "5.5 ping with a 16-bit length of 5": LENIENT,
        "5.5.1 an invalid code counts before an invalid reason": "the reason counts",
        "7692-6 no octets at all": "takes it, and is out of step with what follows",
        "7692-7.2.2 bad deflate data": "fails with 1002",
        "7692-7.2.2 bad deflate data in a later fragment": "fails with 1002",
        "7692-7.2.2 deflate data cut within a block": "takes what is there",
    },
    Wsproto: {
        "5.2 length of 2^20+1 declared": LATE,
        "5.2 length of 2^23 declared": LATE,
        "5.2 length of 2^31 declared": LATE,
        "5.2 length of 2^32 declared": LATE,
        "5.2 length of 2^63-1 declared": LATE,
        "7692-6 no octets at all": "takes it, and is out of step with what follows",
        "7692-6 control frames between compressed fragments": "loses its context",
        "7692-7.2.2 deflate data cut within a block": "takes what is there",
    },
}


def verdict(events):
    """Return what an implementation made of octets: reasons are everyone's own."""
    made = [Fail(e.code, "") if isinstance(e, Fail) else e for e in events]
    return [Close(int(e.code), e.reason) if isinstance(e, Close) else e for e in made]


CASES = [
    pytest.param(vector, role, kind, id=f"{kind.__name__}: {vector['rule']} ({role})")
    for vector in wire.load("rfc6455")["vectors"]
    for role in ([vector["role"]] if "role" in vector else ["server", "client"])
    for kind in IMPLEMENTATIONS
    # our limits are not theirs, and takeover is what both sides agreed on
    if not vector.get("options") and not vector.get("deflate")
    if vector["rule"] not in DIFFERENCES[kind]
]


@pytest.mark.parametrize(("vector", "role", "kind"), CASES)
def test_vectors_mean_the_same_to_others(core, vector, role, kind):
    config = Compression(15, 15) if "deflate" in vector else None
    _, theirs = join(core, kind, role == "client", config, {})
    data = wire.build(vector["stream"], masked=role == "server")
    events = verdict(theirs.receive(data))
    assert events == verdict(wire.read_events(vector["events"]))


def test_differences_are_about_vectors():
    rules = {vector["rule"] for vector in wire.load("rfc6455")["vectors"]}
    for differences in DIFFERENCES.values():
        assert set(differences) <= rules


def test_close_codes_are_those_of_others():
    from websockets.frames import CloseCode as Theirs

    assert {code.value for code in CloseCode} >= {code.value for code in Theirs}


# aiohttp, over sockets because it has no layer without

ECHOED = [
    "",
    "Hello",
    b"",
    b"\xff\x00",
    "κόσμε" * 1000,
    b"a" * 65535,
    b"a" * 65536,
    "a" * 300,
    "a" * 300,
    "b",
    bytes(range(256)) * 100,
]


def reply(protocol, event):
    """Return what an echoing end answers to an event."""
    match event:
        case str():
            return protocol.send_text(event)
        case bytes():
            return protocol.send_binary(event)
        case Ping():
            return protocol.send_pong(event.payload)
        case Close():
            return protocol.send_close(event.code, event.reason)
    return b""


async def serve_ours(core, config, reader, writer):
    """Be our server for one connection: accept, echo, close."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.decode("latin-1").split("\r\n") if line]
    environ, target = read_request(lines)
    options = Options(compression=config or False)
    handshake = read_handshake(environ, target, options)
    writer.write(handshake.accept()[1])
    codec = None
    if handshake.deflate is not None:
        codec = config.codec(handshake.deflate, client=False)
    protocol = core.RFC6455(client=False, deflate=codec)
    events = []
    while data := await reader.read(4096):
        for event in protocol.receive_data(data):
            events.append(event)
            writer.write(reply(protocol, event))
        await writer.drain()
        if events and isinstance(events[-1], (Close, Fail)):
            break
    writer.close()
    await writer.wait_closed()
    return events


async def talk_to_ours(core, config, compress):
    """Be aiohttp's client to our server; return what both got."""
    done = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        try:
            done.set_result(await serve_ours(core, config, reader, writer))
        except Exception as error:
            done.set_exception(error)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    received = []
    async with server, aiohttp.ClientSession() as session:
        url = f"ws://127.0.0.1:{port}/chat"
        async with session.ws_connect(url, compress=compress) as ws:
            for message in ECHOED:
                text = isinstance(message, str)
                await (ws.send_str if text else ws.send_bytes)(message)
                received.append((await ws.receive()).data)
            await ws.ping(b"p")
            await ws.close(code=4000, message=b"bye")
            assert ws.close_code == 4000
        return received, await done


@pytest.mark.parametrize("compress", [0, 9, 15])
def test_aiohttp_as_a_client(core, compress):
    config = Compression(threshold=0) if compress else None
    received, events = asyncio.run(talk_to_ours(core, config, compress))
    assert received == ECHOED
    assert events == [*ECHOED, Ping(b"p"), Close(4000, "bye")]


async def echo_by_aiohttp(request):
    ws = web.WebSocketResponse(compress=request.query["compress"] == "yes")
    await ws.prepare(request)
    async for message in ws:
        text = message.type is aiohttp.WSMsgType.TEXT
        await (ws.send_str if text else ws.send_bytes)(message.data)
    return ws


async def talk_to_aiohttp(core, config):
    """Be our client to aiohttp's server; return the events."""
    app = web.Application()
    app.router.add_get("/echo", echo_by_aiohttp)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    compress = "yes" if config else "no"
    url = parse_url(f"ws://127.0.0.1:{port}/echo?compress={compress}")
    handshake = client_handshake("13", ClientRequest(url, compression=config))
    writer.write(handshake.request())
    while not handshake.feed(await reader.read(4096)):
        pass
    assert (handshake.compression is not None) is (config is not None)
    codec = config.codec(handshake.compression, client=True) if config else None
    protocol = core.RFC6455(client=True, deflate=codec)
    events = protocol.receive_data(handshake.surplus)
    for message in ECHOED:
        writer.write(reply(protocol, message))
    writer.write(protocol.send_ping(b"p"))
    writer.write(protocol.send_close(4000, "bye"))
    while data := await reader.read(4096):
        events += protocol.receive_data(data)
    writer.close()
    await writer.wait_closed()
    await runner.cleanup()
    return events


@pytest.mark.parametrize("config", CONFIGS)
def test_aiohttp_as_a_server(core, config):
    events = asyncio.run(talk_to_aiohttp(core, CONFIGS[config]))
    assert events[: len(ECHOED)] == ECHOED
    assert events[len(ECHOED)] == Pong(b"p")
    assert isinstance(events[-1], Close)
    assert len(events) == len(ECHOED) + 2
