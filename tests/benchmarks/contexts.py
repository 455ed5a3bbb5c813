"""Weigh and time compression: the tables of docs/compression.md.

`python tests/benchmarks/contexts.py` prints what a context holds for each window and
memory level, and what compressing a message costs and saves for each level and size.
Each weight is taken in a process of its own: the growth of its resident memory over
many connections that sent, or received, 70 kB of text.
"""

import gc
import json
import random
import subprocess
import sys
import time

from wsmiddleware import deflate
from wsmiddleware.deflate import Compression, DeflateParameters

WINDOWS = range(9, 16)
TEXT = (
    "the quick brown fox jumps over the lazy dog while the rain in Spain falls mainly "
    "on the plain and nobody who saw it could say what it was about"
)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4


def records(size):
    """Return JSON of about `size` bytes, such as a web application sends."""
    pick = random.Random(size)
    text = ""
    while len(text) < size:
        record = {
            "id": pick.randrange(10**6),
            "user": pick.choice(["alice", "bob", "carol", "dave"]),
            "text": " ".join(pick.choices(TEXT.split(), k=8)),
            "price": pick.randrange(10**4) / 100,
        }
        text += json.dumps(record)
    return text[:size].encode()


def weigh(side, bits, mem_level, connections):
    """Return the KiB that one connection's context holds."""
    # of which a process keeps no more than that
    deflate.MAX_COMPRESSORS = connections
    payload = records(70_000)
    config = Compression(max_window_bits=bits, mem_level=mem_level)
    agreed = DeflateParameters(server_max_window_bits=bits, client_max_window_bits=bits)
    compressed = config.codec(agreed, client=True).compress(payload)
    codecs = [config.codec(agreed, client=False) for _ in range(connections)]
    gc.collect()
    before = resident()
    for codec in codecs:
        if side == "sends":
            codec.compress(payload)
        else:
            codec.decompress(compressed, fin=True, max_size=1 << 20)
    gc.collect()
    return (resident() - before) / connections


def weigh_apart(*arguments):
    command = [sys.executable, __file__, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def price(level, size, takeover):
    """Return the share that is left of a message, and the microseconds that it took."""
    messages = [records(size + n)[-size:] for n in range(100)]
    config = Compression(level=level, threshold=0)
    agreed = DeflateParameters(
        server_no_context_takeover=not takeover, server_max_window_bits=12
    )
    best = None
    for _ in range(5):
        codec = config.codec(agreed, client=False)
        started = time.perf_counter()
        sizes = [len(codec.compress(message) or message) for message in messages]
        elapsed = (time.perf_counter() - started) / len(messages)
        best = min(best or elapsed, elapsed)
    return sum(sizes) / len(messages) / size, best * 1e6


def main():
    print("KiB held, by window:", *WINDOWS, sep="\t")
    held = [f"{weigh_apart('receives', bits, 5, 3000):.0f}" for bits in WINDOWS]
    print("receives", *held, sep="\t")
    for mem_level in (1, 3, 5, 8, 9):
        held = [f"{weigh_apart('sends', bits, mem_level, 400):.0f}" for bits in WINDOWS]
        print(f"sends, memory level {mem_level}", *held, sep="\t")
    for takeover in (True, False):
        for size in (64, 128, 256, 512, 1024, 4096):
            row = [f"{size} bytes, {'' if takeover else 'no '}takeover:"]
            for level in (1, 4, 5, 6, 9):
                left, microseconds = price(level, size, takeover)
                row.append(f"level {level} {left:.0%} {microseconds:.0f} µs")
            print(*row, sep="\t")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(weigh(sys.argv[1], *map(int, sys.argv[2:])))
    else:
        main()
