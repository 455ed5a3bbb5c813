"""Grammar of the HTTP header fields that both ends of the opening handshake read.

Tokens and lists of tokens (RFC 7230, sections 3.2.6 and 7) and the extensions of
RFC 6455, section 9.1. Each function takes one field value; when a field came in
several lines, `combine` makes one value of them first.

The rule: what does not match the grammar raises ValueError, and the message names the
part that is wrong. Every scan is one pass over the value, so its time is linear.
"""

import re
from collections.abc import Iterable, Sequence

__all__ = [
    "build_extensions",
    "combine",
    "has_token",
    "is_field_value",
    "is_token",
    "parse_extensions",
    "parse_tokens",
]

# RFC 7230, section 3.2.6: token = 1*tchar. The same characters as in RFC 2616.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_IS_TOKEN = re.compile(_TOKEN)

# RFC 7230, section 3.2: a field value is made of field-vchar (VCHAR or obs-text), and
# between them of spaces and tabs.
_FIELD_VCHAR = r"[\x21-\x7e\x80-\xff]"
_IS_FIELD_VALUE = re.compile(
    rf"(?:{_FIELD_VCHAR}(?:[\t \x21-\x7e\x80-\xff]*{_FIELD_VCHAR})?)?"
)

# RFC 6455, section 9.1: "this section is using ABNF syntax/rules from [RFC2616],
# including the 'implied *LWS rule'"; so white space may stand behind each part.
_SPACE = re.compile(r"[ \t]*")
_TOKEN_PART = re.compile(rf"({_TOKEN})[ \t]*")

# RFC 7230, section 3.2.6: quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE
_QUOTED_PART = re.compile(
    r'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"[ \t]*'
)
_QUOTED_PAIR = re.compile(r"\\(.)")

_Extension = tuple[str, list[tuple[str, str | None]]]


def is_token(text: str) -> bool:
    """Tell whether the text is a token."""
    return _IS_TOKEN.fullmatch(text) is not None


def is_field_value(text: str) -> bool:
    """Tell whether the text can be sent as the value of a header field."""
    return _IS_FIELD_VALUE.fullmatch(text) is not None


def combine(lines: Iterable[str]) -> str:
    """Make one field value of the values of several lines of the same name."""
    # RFC 7230, section 3.2.2: "appending each subsequent field value to the combined
    # field value in order, separated by a comma"
    return ", ".join(lines)


def parse_tokens(value: str) -> list[str]:
    """Parse a list of at least one token, such as that of Sec-WebSocket-Protocol."""
    tokens = _elements(value)
    for token in tokens:
        if not is_token(token):
            raise ValueError(f"not a token in a list of tokens: {token!r}")
    if not tokens:
        raise ValueError("list of tokens without a token")
    return tokens


def has_token(value: str, token: str) -> bool:
    """Tell whether a Connection or Upgrade field names a token, in any case.

    A value that is not a list of tokens, or of tokens with a version behind a slash
    as Upgrade allows, names nothing.
    """
    names = _elements(value)
    # RFC 7230, section 6.7: protocol = protocol-name ["/" protocol-version]
    if not all(is_token(part) for name in names for part in name.split("/", 1)):
        return False
    return token.lower() in [name.lower() for name in names]


def parse_extensions(value: str) -> list[_Extension]:
    """Parse a Sec-WebSocket-Extensions field into names with their parameters.

    A parameter is `(name, value)`; the value is None when there was none. Order and
    duplicates are kept; what they mean is the extension's affair.
    """
    extensions: list[_Extension] = []
    scanner = _Scanner(value)
    while not scanner.at_end():
        # RFC 7230, section 7: "a recipient MUST parse and ignore a reasonable number
        # of empty list elements"
        if scanner.accept(","):
            continue
        extensions.append(_extension(scanner))
        if not scanner.at_end() and not scanner.accept(","):
            raise ValueError(f"no comma after an extension: {scanner.rest()!r}")
    # Section 9.1: extension-list = 1#extension
    if not extensions:
        raise ValueError("extension list without an extension")
    return extensions


def build_extensions(
    extensions: Iterable[tuple[str, Sequence[tuple[str, str | None]]]],
) -> str:
    """Build the value of a Sec-WebSocket-Extensions field; the inverse of parsing."""
    elements = []
    for name, parameters in extensions:
        parts = [_sendable(name)]
        for key, value in parameters:
            parts.append(
                _sendable(key) + ("" if value is None else f"={_sendable(value)}")
            )
        elements.append("; ".join(parts))
    if not elements:
        raise ValueError("extension list without an extension")
    return ", ".join(elements)


def _sendable(token: str) -> str:
    if not is_token(token):
        raise ValueError(f"not a token in an extension: {token!r}")
    return token


def _elements(value: str) -> list[str]:
    return [element for part in value.split(",") if (element := part.strip(" \t"))]


def _extension(scanner: "_Scanner") -> _Extension:
    # Section 9.1: extension = extension-token *( ";" extension-param )
    name = scanner.token("extension name")
    parameters = []
    while scanner.accept(";"):
        parameters.append(_parameter(scanner))
    return name, parameters


def _parameter(scanner: "_Scanner") -> tuple[str, str | None]:
    # Section 9.1: extension-param = token [ "=" (token | quoted-string) ]
    name = scanner.token("extension parameter name")
    if not scanner.accept("="):
        return name, None
    return name, scanner.value("extension parameter value")


class _Scanner:
    """Read one field value from left to right, white space behind each part."""

    def __init__(self, text: str) -> None:
        self._text = text.lstrip(" \t")
        self._position = 0

    def at_end(self) -> bool:
        return self._position == len(self._text)

    def rest(self) -> str:
        return self._text[self._position : self._position + 40]

    def accept(self, character: str) -> bool:
        if not self._text.startswith(character, self._position):
            return False
        self._match(_SPACE, self._position + 1)
        return True

    def token(self, what: str) -> str:
        match = self._match(_TOKEN_PART, self._position)
        if match is None:
            raise ValueError(f"{what} is not a token: {self.rest()!r}")
        return match.group(1)

    def value(self, what: str) -> str:
        if not self._text.startswith('"', self._position):
            return self.token(what)
        match = self._match(_QUOTED_PART, self._position)
        if match is None:
            raise ValueError(f"{what} is not a quoted string: {self.rest()!r}")
        text = _QUOTED_PAIR.sub(r"\1", match.group(1))
        # Section 9.1: "the value after quoted-string unescaping MUST conform to the
        # 'token' ABNF"
        if not is_token(text):
            raise ValueError(f"{what} is not a token once unquoted: {text!r}")
        return text

    def _match(self, pattern: re.Pattern[str], position: int) -> re.Match[str] | None:
        match = pattern.match(self._text, position)
        if match is not None:
            self._position = match.end()
        return match
