"""What a protocol returns for the bytes it is fed.

A message is its data: `str` for text, `bytes` for binary. Everything else that a
peer can say is one of the classes below. The peer's faults are events too, `Fail`,
so that what came before them is not lost.
"""

from enum import IntEnum
from typing import TypeAlias

__all__ = [
    "ChallengeResponse",
    "Close",
    "CloseCode",
    "Event",
    "Fail",
    "Ping",
    "Pong",
]


class CloseCode(IntEnum):
    """Name the close codes of RFC 6455, section 7.4.1, and of its registry."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


class _Control:
    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.payload == self.payload

    def __hash__(self) -> int:
        return hash((type(self), self.payload))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.payload!r})"


class Ping(_Control):
    """A ping frame; its payload is what the pong must carry (section 5.5.2)."""

    __slots__ = ()


class Pong(_Control):
    """A pong frame (section 5.5.3)."""

    __slots__ = ()


class ChallengeResponse(_Control):
    """The 16 octets that complete draft 76's opening handshake: send them at once."""

    __slots__ = ()


class _End:
    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and other.code == self.code
            and other.reason == self.reason
        )

    def __hash__(self) -> int:
        return hash((type(self), self.code, self.reason))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code}, {self.reason!r})"


class Close(_End):
    """The peer's close; 1005 when it named no code (section 7.1.5)."""

    __slots__ = ()


class Fail(_End):
    """A fault of the peer: fail the connection with this code (section 7.1.7).

    It is the last event of a connection.
    """

    __slots__ = ()


Event: TypeAlias = str | bytes | Ping | Pong | ChallengeResponse | Close | Fail
