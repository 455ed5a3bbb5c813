"""Peers that mean harm, or know no better, against a real worker.

The server must stay up and go on answering others; nothing may grow without bound,
and nothing of it is worth a traceback. `WSMIDDLEWARE_SEED` repeats a campaign.
"""

import contextlib
import json
import os
import random
import resource
import threading
import time
import zlib
from pathlib import Path

import pytest

from . import peers
from .apps import LIMIT
from .conftest import launch

MEBIBYTE = 1 << 20


def census(server):
    return json.loads(server.get("/census").body)


def processor_time(server):
    """Return how long the processor has worked for the server's one worker."""
    (pid,) = server.workers()
    # proc(5): the name, in parentheses, is the second field, and the times are the
    # fourteenth and the fifteenth.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quick_get(server, seconds=2.0):
    """See that an ordinary request is answered, and soon.

    What counts is the worker's own time: others may have the processor meanwhile.
    """
    before = processor_time(server)
    assert server.get("/").body == b"plain HTTP\n"
    spent = processor_time(server) - before
    assert spent < seconds, f"a page took {spent:.1f} s"


def settled(server, baseline):
    """Wait until the server holds no more than before."""

    deadline = time.monotonic() + peers.PATIENCE
    while True:
        now = census(server)
        kept = {
            kind: (baseline[kind], now[kind])
            for kind in ("websockets", "greenlets", "sockets", "descriptors")
            if now[kind] > baseline[kind]
        }
        if not kept:
            return now
        assert time.monotonic() < deadline, f"more than before: {kept}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def running_victim():
    server = launch("ours", "apps:app", "--worker-connections", "2000")
    yield server
    server.stop()


@pytest.fixture
def victim(running_victim):
    """Lend a worker to one test, and see that it is unharmed afterwards."""
    server = running_victim
    server.mark = server.log.mark()
    server.allowed_faults = [r"\bWARNING\b"]
    server.baseline = census(server)
    yield server
    server.close_wires()
    settled(server, server.baseline)
    quick_get(server)
    server.check()


def raise_descriptor_limit(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


# ---- slowness


def test_slowloris_in_the_request_head(victim):
    """Heads that never end: gunicorn drops them, others are served meanwhile."""
    raise_descriptor_limit(2000)
    wires = [victim.connect() for _ in range(300)]
    request = peers.RFC6455Client(wires[0], victim.host).request()
    for position in range(0, 60, 3):
        for wire in wires:
            with contextlib.suppress(ConnectionError):  # it may have been dropped
                wire.send(request[position : position + 3])
        quick_get(victim)
    for wire in wires:
        wire.close()
    settled(victim, victim.baseline)


def test_slowloris_in_key3(start):
    server = start("ours", "limits:app")
    baseline = census(server)
    clients = []
    for _ in range(50):
        client = server.client("76", origin=server.origin)
        client.wire.send(client.request_head() + client.key3[:5])
        client.verify_head()
        clients.append(client)
    quick_get(server)
    started = time.monotonic()
    for client in clients:
        assert client.wire.read_to_end() == b""
    # limits.py gives key3 one second; the default is 10.
    assert time.monotonic() - started < 8
    settled(server, baseline)
    server.check()


def test_slowloris_in_frames(victim):
    """Frames that never end cost what has arrived of them, not what they claim."""
    raise_descriptor_limit(2000)
    clients = []
    frame = peers.encode_frame(peers.BINARY, b"x" * 40, length=LIMIT)
    for number in range(300):
        client = victim.open(("13", "55")[number % 2], origin=victim.origin)
        client.wire.send(frame[:10] if client.version == "13" else b"\x80\xbf\xff\x7f")
        clients.append(client)
    for position in range(10, 50, 2):
        for client in clients:
            client.wire.send(frame[position : position + 2])
    quick_get(victim)
    grown = census(victim)["resident"] - victim.baseline["resident"]
    assert grown < 300 * 64 * 1024, f"{grown} bytes more"
    for client in clients:
        client.wire.close()
    settled(victim, victim.baseline)


# ---- floods


def flood(client, data, seconds=1.5):
    """Send as fast as possible, reading nothing, until the time or the peer ends."""
    client.wire.sock.settimeout(0.2)
    deadline = time.monotonic() + seconds
    sent = 0
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                sent += client.wire.sock.send(data)
    except OSError:
        pass
    client.wire.sock.settimeout(client.wire.patience)
    return sent


FLOODS = {
    "empty text frames": peers.encode_frame(peers.TEXT) * 2000,
    "pings": peers.encode_frame(peers.PING, b"x" * 125) * 500,
    "empty pings": peers.encode_frame(peers.PING) * 2000,
    "pongs": peers.encode_frame(peers.PONG, b"x" * 125) * 500,
    "tiny fragments": peers.encode_frame(peers.TEXT, b"a", fin=False)
    + peers.encode_frame(0, b"b", fin=False) * 2000,
    "empty fragments": peers.encode_frame(peers.TEXT, b"", fin=False)
    + peers.encode_frame(0, b"", fin=False) * 2000,
    "small messages": peers.encode_frame(peers.TEXT, b"hello") * 2000,
    "closes": peers.encode_frame(peers.CLOSE, peers.close_payload(1000)) * 2000,
    "noise": random.Random(6).randbytes(65536),
}


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
def test_flood(victim, data):
    """Others are served while it lasts, and memory stays where it was."""
    clients = [victim.open("13") for _ in range(4)]
    floods = [threading.Thread(target=flood, args=(c, data)) for c in clients]
    for thread in floods:
        thread.start()
    while any(thread.is_alive() for thread in floods):
        quick_get(victim)
    grown = census(victim)["resident"] - victim.baseline["resident"]
    assert grown < 24 * MEBIBYTE, f"{grown} bytes more"
    for client in clients:
        client.wire.close()
    settled(victim, victim.baseline)


@pytest.mark.parametrize("kind", [b"\x00", b"\x80\xff\xff\x7f"], ids=["text", "length"])
def test_flood_of_draft_55(victim, kind):
    client = victim.open("55", origin=victim.origin)
    client.wire.send(kind)
    flood(client, b"x" * 65536)
    quick_get(victim)
    grown = census(victim)["resident"] - victim.baseline["resident"]
    assert grown < 8 * MEBIBYTE, f"{grown} bytes more"
    client.wire.close()
    settled(victim, victim.baseline)


def test_endless_length_of_draft_55(victim):
    """A length of more and more 7-bit octets is refused, not computed forever."""
    client = victim.open("55", origin=victim.origin)
    flood(client, b"\x80" + b"\xff" * 65535)
    quick_get(victim)
    with contextlib.suppress(ConnectionResetError):
        assert client.wire.read_to_end() == b""


# ---- compression bombs


def open_with_deflate(server):
    """Open a connection that may compress, whatever window the server names."""
    extension = "permessage-deflate; client_max_window_bits"
    client = server.client("13", fields=[("Sec-WebSocket-Extensions", extension)])
    client.wire.send(client.request())
    response = peers.read_response(client.wire)
    assert response.status == 101
    agreed = response.field("sec-websocket-extensions")
    if not agreed:
        pytest.skip("compression is not negotiated")
    bits = 15
    for parameter in agreed.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "client_max_window_bits":
            bits = int(value)
    return client, bits


def compress(size, bits):
    """Deflate so many zeros, as in RFC 7692, section 7.2.1."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -bits)
    zeros = bytes(MEBIBYTE)
    data = b"".join(deflater.compress(zeros) for _ in range(size // MEBIBYTE))
    return (data + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("fragments", [1, 50, 5000])
def test_compression_bomb(victim, fragments):
    client, bits = open_with_deflate(victim)
    bomb = compress(300 * MEBIBYTE, bits)
    step = len(bomb) // fragments + 1
    pieces = [bomb[start : start + step] for start in range(0, len(bomb), step)]
    with contextlib.suppress(OSError):
        for number, piece in enumerate(pieces):
            client.send_frame(
                0 if number else peers.BINARY,
                piece,
                rsv=0 if number else 4,
                fin=number == len(pieces) - 1,
            )
    assert client.read_close().code == 1009
    quick_get(victim)
    grown = census(victim)["resident"] - victim.baseline["resident"]
    assert grown < 8 * MEBIBYTE, f"{grown} bytes more"


def test_bad_deflate_data(victim):
    client, _ = open_with_deflate(victim)
    client.send_frame(peers.TEXT, b"\xff\xff\xff\xff", rsv=4)
    assert client.expect_close() == 1007


# ---- header injection


@pytest.mark.parametrize("reason", ["a%0d%0ab", "x" * 200], ids=["line end", "long"])
def test_reason_stays_in_its_frame(victim, reason):
    victim.allowed_faults = [".*"]
    client = victim.open("13", f"/close?4000={reason[:150]}")
    client.read_close()
    client.send_frame(peers.CLOSE, peers.close_payload(4000))
    assert client.wire.read_to_end() == b""


@pytest.mark.parametrize("value", ["a\x00b", "a\x7fb", "a\x1bb"])
def test_origin_with_control_characters(victim, value):
    """An origin is written back to drafts 55 and 76, so it must be a clean one."""
    for version in ("55", "76"):
        with victim.connect() as wire:
            client = peers.CLIENTS[version](wire, victim.host, origin=victim.origin)
            request = client.request().replace(
                victim.origin.encode(), value.encode("latin-1")
            )
            wire.send(request)
            answer = wire.read_through(b"\r\n\r\n")
        assert answer.split(b" ")[1] in (b"400", b"403")
        assert value.encode("latin-1") not in answer


# ---- campaigns


class Attacker:
    """Make connections that no good client makes, each after its own number."""

    def __init__(self, server, seed):
        self.server = server
        self.seed = seed
        self.counts = {}

    def attack(self, number):
        chance = random.Random(f"{self.seed}:{number}")
        ways = [
            self.garbage,
            self.cut_handshake,
            self.cut_talk,
            self.flipped_handshake,
            self.flipped_talk,
            self.garbage_frames,
            self.claimed_lengths,
            self.silent_opening,
            self.shuffled_fields,
            self.close_and_go_on,
        ]
        way = chance.choice(ways)
        self.counts[way.__name__] = self.counts.get(way.__name__, 0) + 1
        with contextlib.suppress(OSError, EOFError):
            wire = self.server.connect(patience=10)
            try:
                wire.send(way(chance))
                self.leave(chance, wire)
            finally:
                wire.close()

    def leave(self, chance, wire):
        """Leave with a RST, a FIN, or by waiting for what comes."""
        way = chance.random()
        if way < 0.3:
            wire.reset()
        elif way < 0.6:
            wire.end_of_writing()
            wire.read_to_end()
        elif way < 0.7:
            wire.sock.settimeout(0.01)
            wire.fill()

    def stream(self, chance):
        """Compose a handshake and a talk that are good."""
        version = chance.choice(["55", "76", "8", "13"])
        path = chance.choice(["/echo", "/echo", "/returns", "/goodbye"])
        origin = self.server.origin
        if version in ("55", "76"):
            kind = peers.CLIENTS[version]
            client = kind(Nowhere, self.server.host, path, origin=origin)
            ending = {"55": b"", "76": b"\xff\x00"}[version]
        else:
            client = peers.RFC6455Client(
                Nowhere, self.server.host, path, version=version, origin=origin
            )
            ending = peers.encode_frame(peers.CLOSE, peers.close_payload(1000))
        talk = b"".join(
            client.encode("x" * chance.choice([0, 1, 125, 126, 1000]))
            for _ in range(chance.randint(0, 4))
        )
        return client.request(), talk + ending

    def garbage(self, chance):
        return chance.randbytes(chance.choice([1, 10, 100, 5000]))

    def cut_handshake(self, chance):
        request, _ = self.stream(chance)
        return request[: chance.randrange(len(request))]

    def cut_talk(self, chance):
        request, talk = self.stream(chance)
        return request + talk[: chance.randint(0, len(talk))]

    def flip(self, chance, data):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            if changed:
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)

    def flipped_handshake(self, chance):
        request, talk = self.stream(chance)
        return self.flip(chance, request) + talk

    def flipped_talk(self, chance):
        request, talk = self.stream(chance)
        return request + self.flip(chance, talk)

    def garbage_frames(self, chance):
        request, _ = self.stream(chance)
        return request + chance.randbytes(chance.choice([1, 2, 14, 300, 9000]))

    def claimed_lengths(self, chance):
        request, _ = self.stream(chance)
        length = chance.choice([126, 65536, LIMIT, LIMIT + 1, 1 << 31, (1 << 63) - 1])
        opcode = chance.choice([0, 1, 2, 9])
        return request + peers.encode_frame(opcode, b"abc", length=length)

    def silent_opening(self, chance):
        return self.stream(chance)[0]

    def shuffled_fields(self, chance):
        request, talk = self.stream(chance)
        head, _, rest = request.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        lines += chance.choices(lines, k=chance.randint(0, 3))
        chance.shuffle(lines)
        lines = lines[chance.randint(0, 2) :]
        return b"\r\n".join([first, *lines]) + b"\r\n\r\n" + rest + talk

    def close_and_go_on(self, chance):
        request, talk = self.stream(chance)
        return request + talk + talk + peers.http_request("/delete?hostile", "x")


class Nowhere:
    """A wire for clients that only compose."""


def run_campaign(server, attacks, threads=4):
    """Make so many hostile connections, looking at plain HTTP all the while."""
    seed = os.environ.get("WSMIDDLEWARE_SEED") or str(random.randrange(10**9))
    print(f"WSMIDDLEWARE_SEED={seed}")
    attacker = Attacker(server, seed)
    numbers = iter(range(attacks))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            attacker.attack(number)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    pages = 0
    while any(worker.is_alive() for worker in workers):
        quick_get(server, 5)
        pages += 1
        workers[0].join(0.1)
    assert sum(attacker.counts.values()) == attacks
    assert pages
    return attacker.counts


def tracebacks(lines):
    """Cut the tracebacks out of a log, each with the line of its exception."""
    found = []
    inside = False
    for line in lines:
        if line.startswith("Traceback"):
            found.append("")
            inside = True
        if inside:
            found[-1] += line + "\n"
            inside = line.startswith(("Traceback", " "))
    return found


def check_after_campaign(server, baseline, growth):
    after = settled(server, baseline)
    grown = after["resident"] - baseline["resident"]
    print(f"baseline {baseline}, afterwards {after}")
    assert grown < growth, f"{grown} bytes more"
    assert server.get("/live").body == b"0"
    assert b"hostile" not in server.get("/executed").body
    server.settle()
    faults = tracebacks(server.log.since(server.mark))
    if server.kind == "gevent_pywsgi":
        # gevent's pywsgi reports what is no request; we must not be in it.
        faults = [fault for fault in faults if "wsmiddleware/" in fault]
    assert not faults, faults[0]
    assert not server.log.find("Booting worker", server.mark), "the worker died"


@pytest.mark.parametrize("kind", ["ours"])
def test_campaign_of_ten_thousand_hostile_connections(start, kind):
    server = start(kind, "apps:app", "--worker-connections", "2000")
    run_campaign(server, 300)  # what is allocated once and kept
    baseline = settled(server, census(server))
    run_campaign(server, 10_000)
    check_after_campaign(server, baseline, 16 * MEBIBYTE)


@pytest.mark.parametrize("kind", ["gevent", "gevent_pywsgi"])
def test_campaign_on_the_stock_workers(start, kind):
    server = start(kind, "apps:app")
    run_campaign(server, 200)
    baseline = settled(server, census(server))
    run_campaign(server, 1000)
    check_after_campaign(server, baseline, 16 * MEBIBYTE)


# ---- leaks


def use(server, number):
    """Open, use and close a connection in one of the ways that there are."""
    version = ("13", "13", "13", "8", "55", "76")[number % 6]
    kind = number // 6 % 8
    path = ("/echo", "/returns", "/goodbye", "/unauthorized")[kind % 4]
    client = server.client(version, path, origin=server.origin)
    wire = client.wire
    with contextlib.suppress(EOFError, ConnectionError):
        wire.send(client.request() + client.encode("hello"))
        if kind == 3 or kind == 7:
            peers.read_response(wire)
        elif kind == 4:
            wire.reset()
            return
        elif kind == 5:
            wire.read_through(b"\r\n\r\n")
            wire.reset()
            return
        else:
            client.verify()
            if path == "/echo":
                client.receive()
                client.close()
            elif kind == 6:
                wire.end_of_writing()
                wire.read_to_end()
            else:
                if path == "/returns":
                    client.receive()
                client.expect_close()
    wire.close()


def test_twenty_thousand_connections_leave_nothing(start):
    # With short deadlines, for one that is cancelled is forgotten when it is due.
    server = start("ours", "limits:patient", "--worker-connections", "2000")
    run_many(server, 2000)
    baseline = settled(server, census(server))
    run_many(server, 20_000)
    check_after_campaign(server, baseline, 8 * MEBIBYTE)
    peers.until(lambda: census(server)["objects"] < baseline["objects"] + 1000, pause=1)


def run_many(server, count, threads=4):
    faults = []

    def work(numbers):
        try:
            for number in numbers:
                use(server, number)
        except Exception as fault:
            faults.append(fault)

    workers = [
        threading.Thread(target=work, args=(range(n, count, threads),))
        for n in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults
