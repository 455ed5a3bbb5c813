"""Header grammar: RFC 7230, sections 3.2 and 7; RFC 6455, section 9.1."""

import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsmiddleware.headers import (
    build_extensions,
    combine,
    has_token,
    is_field_value,
    is_token,
    parse_extensions,
    parse_tokens,
)

# RFC 7230, 3.2.6: "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" /
# "_" / "`" / "|" / "~" / DIGIT / ALPHA
TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TOKENS = st.text(TCHAR, min_size=1, max_size=12)
SPACE = st.text(" \t", max_size=2)


@pytest.mark.parametrize("code", range(257))
def test_token_characters(code):
    assert is_token(chr(code)) is (chr(code) in TCHAR)


@pytest.mark.parametrize("text", ["", "a b", "a,", "\na", "a\n", "\u212a"])
def test_not_a_token(text):
    assert not is_token(text)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("", True),
        ("a", True),
        ("a b\tc", True),
        ("\xe9", True),
        (" a", False),
        ("a ", False),
        ("a\t", False),
        (" ", False),
        ("a\r\nb: c", False),
        ("a\rb", False),
        ("a\nb", False),
        ("a\n", False),
        ("a\0b", False),
        ("a\x7fb", False),
        ("a\u0100b", False),
    ],
)
def test_field_value(text, valid):
    assert is_field_value(text) is valid


def test_lines_are_joined_by_a_comma():
    assert combine(["foo", "bar; baz=2"]) == "foo, bar; baz=2"


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("chat", ["chat"]),
        ("chat, superchat", ["chat", "superchat"]),
        ("chat,superchat", ["chat", "superchat"]),
        (" \tchat\t , superchat ", ["chat", "superchat"]),
        # RFC 7230, 7: "For example, given these ABNF productions [...] 'foo ,bar,'"
        ("foo ,bar,", ["foo", "bar"]),
        (", , foo,,, bar ,\t,", ["foo", "bar"]),
        ("a,a", ["a", "a"]),
    ],
)
def test_list_of_tokens(value, tokens):
    assert parse_tokens(value) == tokens


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "list of tokens without a token"),
        (" ", "list of tokens without a token"),
        (",", "list of tokens without a token"),
        (", ,", "list of tokens without a token"),
        ("a b", "not a token in a list of tokens: 'a b'"),
        ('"a"', "not a token in a list of tokens: '\"a\"'"),
        ("a/1", "not a token in a list of tokens: 'a/1'"),
        ("a;b", "not a token in a list of tokens: 'a;b'"),
        ("a, \xe9", "not a token in a list of tokens: 'é'"),
        ("a\n", "not a token in a list of tokens: 'a\\n'"),
    ],
)
def test_malformed_list_of_tokens(value, rule):
    with pytest.raises(ValueError, match="token") as caught:
        parse_tokens(value)
    assert str(caught.value) == rule


@pytest.mark.parametrize(
    ("value", "token", "found"),
    [
        ("Upgrade", "upgrade", True),
        ("upgrade", "Upgrade", True),
        ("keep-alive, Upgrade", "upgrade", True),
        ("keep-alive,UPGRADE,foo", "upgrade", True),
        (",Upgrade ,", "upgrade", True),
        ("h2c, WebSocket", "websocket", True),
        ("foo/2, websocket", "websocket", True),
        ("websocket/13", "websocket", False),
        ("websockets", "websocket", False),
        ("keep-alive", "upgrade", False),
        ("", "upgrade", False),
        ('foo, "upgrade"', "upgrade", False),
        ('"a, upgrade, b"', "upgrade", False),
        ("upgrade, b c", "upgrade", False),
        ("upgrade, /1", "upgrade", False),
        ("upgrade, a/", "upgrade", False),
        ("upgrade, a/b/c", "upgrade", False),
        # the Kelvin sign, whose lower case is an ASCII k
        ("websoc\u212aet", "websocket", False),
    ],
)
def test_token_in_any_case(value, token, found):
    assert has_token(value, token) is found


@pytest.mark.parametrize(
    ("value", "extensions"),
    [
        # the examples of RFC 6455, 9.1
        ("deflate-stream", [("deflate-stream", [])]),
        (
            "mux; max-channels=4; flow-control,\t deflate-stream",
            [
                ("mux", [("max-channels", "4"), ("flow-control", None)]),
                ("deflate-stream", []),
            ],
        ),
        ("private-extension", [("private-extension", [])]),
        ("foo, bar; baz=2", [("foo", []), ("bar", [("baz", "2")])]),
        # "including the 'implied *LWS rule'"
        (" foo ; bar = 2\t,\tbaz ", [("foo", [("bar", "2")]), ("baz", [])]),
        ("foo;bar=2,baz", [("foo", [("bar", "2")]), ("baz", [])]),
        # "the value after quoted-string unescaping MUST conform to the 'token' ABNF"
        ('foo; bar="2"', [("foo", [("bar", "2")])]),
        ('foo; bar = "2" ; baz', [("foo", [("bar", "2"), ("baz", None)])]),
        (r'foo; bar="\a\b\1"', [("foo", [("bar", "ab1")])]),
        # RFC 7230, 7: empty elements
        (", foo,, bar ,", [("foo", []), ("bar", [])]),
        # repeated names are the extension's affair
        ("foo; a; a=1, foo", [("foo", [("a", None), ("a", "1")]), ("foo", [])]),
    ],
)
def test_extensions(value, extensions):
    assert parse_extensions(value) == extensions


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "extension list without an extension"),
        (" ", "extension list without an extension"),
        (" , ,", "extension list without an extension"),
        ("foo bar", "no comma after an extension: 'bar'"),
        ("foo=1", "no comma after an extension: '=1'"),
        ('foo; a="b"c', "no comma after an extension: 'c'"),
        ("foo; a b", "no comma after an extension: 'b'"),
        ("/", "extension name is not a token: '/'"),
        (";", "extension name is not a token: ';'"),
        ('"foo"', "extension name is not a token: '\"foo\"'"),
        ("\xe9", "extension name is not a token: 'é'"),
        ("foo\n", "no comma after an extension: '\\n'"),
        ("foo;", "extension parameter name is not a token: ''"),
        ("foo;;", "extension parameter name is not a token: ';'"),
        ("foo; , bar", "extension parameter name is not a token: ', bar'"),
        ("foo; =1", "extension parameter name is not a token: '=1'"),
        ("foo; a=", "extension parameter value is not a token: ''"),
        ("foo; a=;b", "extension parameter value is not a token: ';b'"),
        ("foo; a=@", "extension parameter value is not a token: '@'"),
        ('foo; a="', "extension parameter value is not a quoted string: '\"'"),
        ('foo; a="b', "extension parameter value is not a quoted string: '\"b'"),
        ('foo; a="\\', "extension parameter value is not a quoted string: '\"\\\\'"),
        ('foo; a="\n"', "extension parameter value is not a quoted string: '\"\\n\"'"),
        ('foo; a=""', "extension parameter value is not a token once unquoted: ''"),
        (
            'foo; a="b c"',
            "extension parameter value is not a token once unquoted: 'b c'",
        ),
        (
            'foo; a="b,c"',
            "extension parameter value is not a token once unquoted: 'b,c'",
        ),
        (
            r'foo; a="\""',
            "extension parameter value is not a token once unquoted: '\"'",
        ),
    ],
)
def test_malformed_extensions(value, rule):
    with pytest.raises(ValueError, match="extension") as caught:
        parse_extensions(value)
    assert str(caught.value) == rule


@pytest.mark.parametrize(
    ("extensions", "rule"),
    [
        ([], "extension list without an extension"),
        ([("a b", [])], "not a token in an extension: 'a b'"),
        ([("a", [("", None)])], "not a token in an extension: ''"),
        ([("a", [("b", "c,d")])], "not a token in an extension: 'c,d'"),
        ([("a", [("b", "")])], "not a token in an extension: ''"),
    ],
)
def test_extensions_that_cannot_be_sent(extensions, rule):
    with pytest.raises(ValueError, match="extension") as caught:
        build_extensions(extensions)
    assert str(caught.value) == rule


EXTENSIONS = st.lists(
    st.tuples(TOKENS, st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=4)),
    min_size=1,
    max_size=4,
)


@given(EXTENSIONS)
def test_what_is_built_is_parsed(extensions):
    assert parse_extensions(build_extensions(extensions)) == extensions


@given(EXTENSIONS, st.data())
def test_white_space_quotes_and_empty_elements_say_nothing(extensions, data):
    def space():
        return data.draw(SPACE)

    def quoted(text):
        if not data.draw(st.booleans()):
            return text
        return (
            '"'
            + "".join(data.draw(st.sampled_from(["", "\\"])) + c for c in text)
            + '"'
        )

    elements = []
    for name, parameters in extensions:
        text = name
        for key, value in parameters:
            text += f"{space()};{space()}{key}"
            if value is not None:
                text += f"{space()}={space()}{quoted(value)}"
        elements.append(text)
        elements += [""] * data.draw(st.integers(0, 2))
    value = "".join(f"{space()}{element}{space()}," for element in elements)
    assert parse_extensions(value) == extensions


@given(st.text(TCHAR[:16] + ' \t,;="\\()\n\xe9'))
@example('a;b="' + "\\" * 9)
def test_any_text_is_parsed_or_refused(value):
    for parse in (parse_extensions, parse_tokens):
        with contextlib.suppress(ValueError):
            assert parse(value)
    has_token(value, "upgrade")
    is_field_value(value)


@pytest.mark.parametrize(
    "value",
    [
        "," * 65536,
        "a;" * 32768,
        " " * 65536 + "@",
        'a;b="' + "\\a" * 32768,
        "a," * 32768 + "@",
    ],
)
def test_time_is_linear(value):
    """A head of 64 KiB, the most that a server reads, takes no noticeable time."""
    started = time.process_time()
    for parse in (parse_extensions, parse_tokens):
        with pytest.raises(ValueError, match="token|extension|quoted"):
            parse(value)
    is_field_value(value)
    has_token(value, "upgrade")
    assert time.process_time() - started < 2
