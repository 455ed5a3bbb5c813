"""The permessage-deflate extension of RFC 7692: its negotiation and its codec.

Negotiation reads header values and returns parameters; `PerMessageDeflate` turns the
payload of a message into its compressed form and back. Section numbers are those of
RFC 7692 unless another is named.

A context, the window of recent data that compression refers to, is created when a
message first needs it. Our own may be dropped at any time: what a new compressor emits
refers to nothing before it. The peer's must be kept for as long as it may refer back.
"""

import sys
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import ref

from wsmiddleware.exceptions import HandshakeError, WebSocketError
from wsmiddleware.headers import build_extensions, combine, parse_extensions

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

__all__ = [
    "Compression",
    "DeflateError",
    "DeflateParameters",
    "MessageTooBig",
    "PerMessageDeflate",
    "accept_offers",
    "offer",
    "verify",
]

_NAME = "permessage-deflate"
_SERVER_NO_CONTEXT = "server_no_context_takeover"
_CLIENT_NO_CONTEXT = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"

# Section 7.1.2: "a decimal integer value without leading zeroes between 8 to 15,
# inclusive". zlib makes no raw deflate data with a window of 8 bits, so 8 is refused.
_WINDOW_BITS = {str(bits): bits for bits in range(9, 16)}
_LARGEST_WINDOW = 15

# Section 7.2.1: "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end"
_TAIL = b"\x00\x00\xff\xff"

# An empty block with BFINAL set: it ends the data where a block may begin, nowhere else
_FINAL_BLOCK = b"\x01\x00\x00\xff\xff"


class DeflateError(WebSocketError):
    """Say that a compressed message is not what RFC 7692 makes of a message."""


class MessageTooBig(WebSocketError):
    """Say that a message is longer than allowed once it is decompressed."""


@dataclass(frozen=True)
class Compression:
    """Say how to compress and what to ask of the peer; an end's own configuration.

    `max_window_bits` limits our own compressor and `peer_max_window_bits` the peer's,
    where it lets us; `mem_level` and `level` are zlib's. A message of less than
    `threshold` bytes is sent as it is. The two `no_context_takeover` ask for less
    memory at the server's or the client's sending side, and for worse compression.
    """

    max_window_bits: int = 12
    peer_max_window_bits: int = 12
    mem_level: int = 5
    level: int = 5
    threshold: int = 256
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False

    def __post_init__(self) -> None:
        """Refuse what zlib would refuse, while the configuration is being written."""
        ranges = {
            "max_window_bits": range(9, 16),
            "peer_max_window_bits": range(9, 16),
            "mem_level": range(1, 10),
            "level": range(10),
        }
        for name, allowed in ranges.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"{name} not between {allowed[0]} and {allowed[-1]}: {value!r}"
                )
        if self.threshold < 0:
            raise ValueError(f"threshold is negative: {self.threshold!r}")

    def codec(
        self, parameters: "DeflateParameters", *, client: bool
    ) -> "PerMessageDeflate":
        """Return the codec for a connection that agreed on these parameters."""
        return PerMessageDeflate(
            parameters,
            client=client,
            mem_level=self.mem_level,
            level=self.level,
            threshold=self.threshold,
        )


@dataclass(frozen=True, slots=True)
class DeflateParameters:
    """Hold what both ends agreed on (section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = _LARGEST_WINDOW
    client_max_window_bits: int = _LARGEST_WINDOW


def accept_offers(
    header_values: Sequence[str], config: Compression | None
) -> tuple[str | None, DeflateParameters | None]:
    """Choose among the offers of a client: the server's part of the negotiation.

    Takes the lines of Sec-WebSocket-Extensions, returns the value to answer with and
    what it means; two Nones when there is no offer to accept, or no compression.

    Raises ValueError for a value that breaks the grammar: RFC 6455, section 9.1, has
    the handshake fail then, whether or not compression is on.
    """
    if not header_values:
        return None, None
    extensions = parse_extensions(combine(header_values))
    if config is None:
        return None, None
    # RFC 6455, section 9.1: "with the first options listed being most preferable"
    for name, parameters in extensions:
        if name != _NAME:
            continue
        try:
            asked = _read_parameters(parameters, in_offer=True)
        except ValueError:
            # Section 7.1: "A server MUST decline an extension negotiation offer" with
            # parameters that are unknown, invalid, repeated or not supported
            continue
        return _accept(asked, config)
    return None, None


def offer(config: Compression) -> str:
    """Return the value of Sec-WebSocket-Extensions for a client's request.

    A server that cannot limit its window declines an offer that asks for it, so a
    second offer without it follows.
    """
    parameters: list[tuple[str, str | None]] = []
    if config.server_no_context_takeover:
        parameters.append((_SERVER_NO_CONTEXT, None))
    if config.client_no_context_takeover:
        parameters.append((_CLIENT_NO_CONTEXT, None))
    # Section 7.1.2.2: without a value it says that the server may choose one; with a
    # value, that we use no larger window whatever the server answers
    bits = config.max_window_bits
    parameters.append((_CLIENT_BITS, str(bits) if bits < _LARGEST_WINDOW else None))
    offers = [(_NAME, parameters)]
    if config.peer_max_window_bits < _LARGEST_WINDOW:
        limit = (_SERVER_BITS, str(config.peer_max_window_bits))
        offers.insert(0, (_NAME, [*parameters, limit]))
    return build_extensions(offers)


def verify(
    response_header: str | None, config: Compression | None
) -> DeflateParameters | None:
    """Read a server's answer to our offer: the client's part of the negotiation.

    Returns None when the server accepted none. Raises HandshakeError when the answer
    is malformed or not an answer to what was offered.
    """
    if response_header is None:
        return None
    try:
        return _read_response(response_header, config)
    except ValueError as error:
        raise HandshakeError(f"invalid Sec-WebSocket-Extensions: {error}") from error


def _read_response(value: str, config: Compression | None) -> DeflateParameters:
    extensions = parse_extensions(value)
    # RFC 6455, section 4.1: an answer with "an extension that was not present in the
    # client's handshake" fails the connection
    if config is None or [name for name, _ in extensions] != [_NAME]:
        raise ValueError(f"not an answer to what was offered: {value}")
    agreed = _read_parameters(extensions[0][1], in_offer=False)

    # Section 7.1.1.1: a server accepts the parameter "by including" it in its answer
    if config.server_no_context_takeover and _SERVER_NO_CONTEXT not in agreed:
        raise ValueError(f"{_SERVER_NO_CONTEXT} was offered and not accepted")
    # Section 7.1.2.2: the value that we offered is a hint, which "the server may either
    # ignore [...] or use", and we keep to it whatever the answer
    client_bits = agreed.get(_CLIENT_BITS, _LARGEST_WINDOW)
    return DeflateParameters(
        server_no_context_takeover=_SERVER_NO_CONTEXT in agreed,
        # Section 7.1.1.2: having offered it, we do so whatever the server answers
        client_no_context_takeover=_CLIENT_NO_CONTEXT in agreed
        or config.client_no_context_takeover,
        server_max_window_bits=agreed.get(_SERVER_BITS, _LARGEST_WINDOW),
        client_max_window_bits=min(client_bits, config.max_window_bits),
    )


def _accept(
    asked: dict[str, int], config: Compression
) -> tuple[str, DeflateParameters]:
    # Section 7.1.1: each side's takeover ends when either end asks for it
    parameters = DeflateParameters(
        server_no_context_takeover=config.server_no_context_takeover
        or _SERVER_NO_CONTEXT in asked,
        client_no_context_takeover=config.client_no_context_takeover
        or _CLIENT_NO_CONTEXT in asked,
        # Section 7.1.2.1: "the same or smaller value as the offer"
        server_max_window_bits=min(
            config.max_window_bits, asked.get(_SERVER_BITS, _LARGEST_WINDOW)
        ),
        # Section 7.1.2.2: "If a received extension negotiation offer doesn't have the
        # 'client_max_window_bits' extension parameter, the corresponding extension
        # negotiation response to the offer MUST NOT include" it
        client_max_window_bits=min(config.peer_max_window_bits, asked[_CLIENT_BITS])
        if _CLIENT_BITS in asked
        else _LARGEST_WINDOW,
    )
    answer: list[tuple[str, str | None]] = []
    if parameters.server_no_context_takeover:
        answer.append((_SERVER_NO_CONTEXT, None))
    if parameters.client_no_context_takeover:
        answer.append((_CLIENT_NO_CONTEXT, None))
    if _SERVER_BITS in asked or parameters.server_max_window_bits < _LARGEST_WINDOW:
        answer.append((_SERVER_BITS, str(parameters.server_max_window_bits)))
    if _CLIENT_BITS in asked:
        answer.append((_CLIENT_BITS, str(parameters.client_max_window_bits)))
    return build_extensions([(_NAME, answer)]), parameters


def _read_parameters(
    parameters: Sequence[tuple[str, str | None]], *, in_offer: bool
) -> dict[str, int]:
    """Return the window sizes, and 1 for each parameter that has no value."""
    values: dict[str, int] = {}
    for name, value in parameters:
        if name in values:
            raise ValueError(f"parameter of permessage-deflate given twice: {name}")
        if name in (_SERVER_NO_CONTEXT, _CLIENT_NO_CONTEXT):
            if value is not None:
                raise ValueError(f"{name} with a value: {value}")
            values[name] = 1
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            values[name] = _read_window(name, value, in_offer)
        else:
            raise ValueError(f"unknown parameter of permessage-deflate: {name}")
    return values


def _read_window(name: str, value: str | None, in_offer: bool) -> int:
    # Section 7.1.2.2: "This parameter [client_max_window_bits] has an optional value"
    # in an offer; elsewhere a window has a value
    if value is None and in_offer and name == _CLIENT_BITS:
        return _LARGEST_WINDOW
    if value is None:
        raise ValueError(f"{name} without a value")
    if value not in _WINDOW_BITS:
        raise ValueError(f"{name} not between 9 and 15: {value}")
    return _WINDOW_BITS[value]


# A compressor takes some 40 KiB, more than all the rest of a connection. So no more
# than these are kept: those of the connections that sent something most recently, which
# are the keys here, in that order. The others make a new one, in some ten microseconds.
# An ordered dict and not a dict: its operations are safe while connections end, and
# so are forgotten, at any time and in any thread.
MAX_COMPRESSORS = 128
_compressing: "OrderedDict[ref[PerMessageDeflate], None]" = OrderedDict()


def _compress_with(compressor: "_Compress", payload: bytes) -> bytes | None:
    # Section 7.2.1: compress, end with an empty stored block, remove its tail
    compressed = compressor.compress(payload)
    compressed += compressor.flush(zlib.Z_SYNC_FLUSH)
    length = len(compressed) - len(_TAIL)
    return compressed[:length] if length < len(payload) else None


def _forget(codec: "ref[PerMessageDeflate]") -> None:
    _compressing.pop(codec, None)


class PerMessageDeflate:
    """Compress and decompress the messages of one connection (section 7.2)."""

    __slots__ = (
        "__weakref__",
        "_compressor",
        "_inflater",
        "_keep_compressor",
        "_keep_inflater",
        "_level",
        "_mem_level",
        "_pending",
        "_produced",
        "_receive_bits",
        "_ref",
        "_send_bits",
        "_threshold",
        "parameters",
    )

    def __init__(
        self,
        parameters: DeflateParameters,
        *,
        client: bool,
        mem_level: int = Compression.mem_level,
        level: int = Compression.level,
        threshold: int = Compression.threshold,
    ) -> None:
        """Set up for one end; no context is created yet."""
        server_sends = (
            not parameters.server_no_context_takeover,
            -parameters.server_max_window_bits,
        )
        client_sends = (
            not parameters.client_no_context_takeover,
            -parameters.client_max_window_bits,
        )
        ours, theirs = (
            (client_sends, server_sends) if client else (server_sends, client_sends)
        )
        self.parameters = parameters
        # zlib takes negative window bits for raw deflate data
        self._keep_compressor, self._send_bits = ours
        self._keep_inflater, self._receive_bits = theirs
        self._mem_level = mem_level
        self._level = level
        # an empty message cannot become smaller
        self._threshold = max(threshold, 1)
        self._compressor: _Compress | None = None
        self._ref: ref[PerMessageDeflate] | None = None
        self._inflater: _Decompress | None = None
        # of the message at hand: the bytes that were handed out so far, and whether
        # data came that has not ended with a final block
        self._produced = 0
        self._pending = False

    def compress(self, payload: bytes) -> bytes | None:
        """Return the compressed form of a message, or None to send it as it is.

        None means that the message is below the threshold, or not smaller when
        compressed (section 6: a sender may choose for each message).
        """
        if len(payload) < self._threshold:
            return None
        compressor = self._compressor or self._new_compressor()
        compressed = _compress_with(compressor, payload)
        if compressed is None:
            # The compressor has seen what the peer will not: drop it, lest it refers
            # to that. A copy kept for this case would cost time with every message.
            self._compressor = None
        elif self._keep_compressor:
            self._keep(compressor)
        return compressed

    @property
    def wire_format(self) -> tuple[int, ...]:
        """Return what decides how a message is compressed by itself."""
        return self._send_bits, self._level, self._mem_level, self._threshold

    def compress_alone(self, payload: bytes) -> bytes | None:
        """Return the compressed form that refers to no other message, as `compress`.

        Whoever is sent it has another context than ours then: see `forget_context`.
        """
        if len(payload) < self._threshold:
            return None
        return _compress_with(self._new_compressor(), payload)

    def forget_context(self) -> None:
        """Refer to nothing that was sent before."""
        self._compressor = None
        if self._ref is not None:
            _forget(self._ref)

    def _new_compressor(self) -> "_Compress":
        return zlib.compressobj(
            self._level, zlib.DEFLATED, self._send_bits, self._mem_level
        )

    def _keep(self, compressor: "_Compress") -> None:
        self._compressor = compressor
        if self._ref is None:
            self._ref = ref(self, _forget)
        _forget(self._ref)
        _compressing[self._ref] = None
        if len(_compressing) > MAX_COMPRESSORS:
            codec = _compressing.popitem(last=False)[0]()
            if codec is not None:
                codec._compressor = None

    def decompress(self, piece: bytes, *, fin: bool, max_size: int) -> bytes:
        """Return what a piece of a compressed message says; `fin` with the last piece.

        Pieces may be cut anywhere. No more than `max_size` bytes and one are produced
        for the whole message.

        Raises DeflateError for data that is not deflate data, and MessageTooBig as
        soon as the message is known to be longer than `max_size`.
        """
        output = self._inflate(piece, max_size) if piece else b""
        if fin:
            if self._pending:
                self._finish(max_size)
            self._produced = 0
            if not self._keep_inflater:
                self._inflater = None
        return output

    def _inflate(self, data: bytes, max_size: int) -> bytes:
        output, unused = self._step(data, max_size)
        if not unused:
            return output
        # A block with BFINAL set ended the data, yet there is more: section 7.2.1 lets
        # a sender use such blocks. zlib copies what is behind one, so it gets slices
        # that start small: any number of such blocks takes linear time.
        outputs = [output]
        position, size = 0, 64
        while position < len(unused):
            piece = unused[position : position + size]
            output, rest = self._step(piece, max_size)
            outputs.append(output)
            position += len(piece) - len(rest)
            size = size * 2 if self._pending else 64
        return b"".join(outputs)

    def _step(self, data: bytes, max_size: int) -> tuple[bytes, bytes]:
        """Inflate until the data or a final block ends; return what is behind it."""
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = zlib.decompressobj(self._receive_bits)
        limit = min(max_size - self._produced, sys.maxsize - 1) + 1
        try:
            output = inflater.decompress(data, limit)
        except zlib.error as error:
            raise DeflateError("invalid deflate data") from error
        self._produced += len(output)
        if self._produced > max_size:
            raise MessageTooBig(f"message longer than {max_size} bytes")
        self._pending = not inflater.eof
        if inflater.eof:
            # the block was the last of its data: what follows has a new context
            self._inflater = None
        return output, inflater.unused_data

    def _finish(self, max_size: int) -> None:
        # Section 7.2.2: "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the
        # payload of the message"; where that completes an empty block it says nothing
        said, rest = self._step(_TAIL, max_size)
        if said or rest or not self._between_blocks():
            raise DeflateError("compressed message ends within a block")
        self._pending = False

    def _between_blocks(self) -> bool:
        # zlib does not tell. But a final block ends the data where a block may begin.
        inflater = self._inflater
        if inflater is None:
            return True
        probe = inflater.copy() if self._keep_inflater else inflater
        try:
            said = probe.decompress(_FINAL_BLOCK, 1)
        except zlib.error:
            return False
        return probe.eof and not said and not probe.unused_data
