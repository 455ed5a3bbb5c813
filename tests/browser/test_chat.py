"""The chat of `examples/chat`, as the people in it meet it."""

import re
from urllib.parse import urlsplit

import pytest


@pytest.fixture
def sockets():
    """Collect the addresses of the WebSockets that pages have opened."""
    return []


@pytest.fixture
def join(chat, sockets):
    """Come in under a name, with a new tab of a window."""
    faults = []

    def join(window, name):
        page = window.new_page()
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.on("pageerror", lambda fault: faults.append(fault))
        page.goto(chat.address)
        page.get_by_label("Your name").fill(name)
        page.keyboard.press("Enter")
        wait_for_state(page, "Connected")
        return page

    yield join
    assert faults == []


def wait_for_state(page, words):
    page.locator("#state").filter(has_text=words).wait_for()


def say(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def wait_for_bubble(page, text):
    bubble = page.locator(".row:not(.pending) .bubble")
    bubble.get_by_text(text, exact=True).wait_for()


def wait_for_notice(page, text):
    page.locator(".notice").filter(has_text=text).wait_for()


def people(page):
    return page.locator("#people-list .name").all_inner_texts()


def test_two_tabs_chat_on_the_port_of_the_page(
    chat, open_window, join, sockets, picture
):
    window = open_window()
    ada = join(window, "Ada Lovelace")
    picture(ada, "alone")
    grace = join(window, "Grace Hopper")
    wait_for_notice(ada, "Grace Hopper came in.")
    say(ada, "Hello Grace, do you read me?")
    wait_for_bubble(grace, "Hello Grace, do you read me?")
    say(grace, "Loud and clear.")
    say(grace, "The page and its WebSocket share one port.")
    wait_for_bubble(ada, "The page and its WebSocket share one port.")
    assert people(ada) == ["Ada Lovelace", "Grace Hopper"]
    assert people(grace) == ["Grace Hopper", "Ada Lovelace"]
    assert sockets == [f"ws://127.0.0.1:{chat.port}/chat"] * 2
    assert urlsplit(ada.url).port == chat.port
    picture(ada, "two-tabs")
    picture(grace, "two-tabs-other")
    grace.close()
    wait_for_notice(ada, "Grace Hopper left.")
    assert people(ada) == ["Ada Lovelace"]


def test_page_reconnects_when_the_server_restarts(chat, open_window, join, picture):
    ada = join(open_window(), "Ada")
    grace = join(open_window(390, 780, has_touch=True, is_mobile=True), "Grace")
    say(ada, "Said before the restart.")
    wait_for_bubble(grace, "Said before the restart.")

    assert chat.stop() == 0
    wait_for_state(ada, "Connection lost")
    wait_for_state(grace, "Connection lost")
    say(ada, "Typed while the server was away.")
    ada.locator(".pending").wait_for()
    picture(ada, "connection-lost")
    picture(grace, "connection-lost-phone")

    chat.start()
    for page in (ada, grace):
        wait_for_state(page, "Connected")
        wait_for_notice(page, "You are back.")
    # Nothing was lost: neither what was typed meanwhile nor what was said before.
    wait_for_bubble(grace, "Typed while the server was away.")
    wait_for_bubble(ada, "Typed while the server was away.")
    wait_for_bubble(grace, "Said before the restart.")
    assert ada.locator(".pending").count() == 0
    picture(ada, "reconnected")


def test_newcomer_is_shown_what_was_said(open_window, join):
    ada = join(open_window(), "Ada")
    say(ada, "First.")
    say(ada, "Second.")
    wait_for_bubble(ada, "Second.")
    grace = join(open_window(), "Grace")
    wait_for_bubble(grace, "Second.")
    assert grace.locator(".bubble").all_inner_texts() == ["First.", "Second."]
    # A reload is a newcomer, too, who knows what was theirs.
    ada.reload()
    wait_for_state(ada, "Connected")
    wait_for_bubble(ada, "Second.")
    assert ada.locator(".mine .bubble").all_inner_texts() == ["First.", "Second."]


def test_what_others_write_is_text(open_window, join):
    markup = '<img src="x" onerror="document.title = 1"><b>bold</b>'
    ada = join(open_window(), "Ada")
    mallory = join(open_window(), "<i>Mallory</i>")
    say(mallory, markup)
    wait_for_bubble(ada, markup)
    assert people(ada) == ["Ada", "<i>Mallory</i>"]
    assert ada.locator("#log b, #log img, #log i, #people i").count() == 0
    assert ada.title() == "Lobby"


def test_keyboard_is_enough(open_window, join):
    ada = join(open_window(), "Ada")
    # Coming in has put the focus where one writes.
    ada.keyboard.type("one line")
    ada.keyboard.press("Shift+Enter")
    ada.keyboard.type("another")
    ada.keyboard.press("Enter")
    wait_for_bubble(ada, "one line\nanother")
    rename = ada.get_by_role("button", name="Change my name")
    for _ in range(6):
        ada.keyboard.press("Tab")
        if rename.evaluate("button => button === document.activeElement"):
            break
    ada.keyboard.press("Enter")
    ada.keyboard.type("Countess")
    ada.keyboard.press("Enter")
    wait_for_notice(ada, "Ada is now")
    assert people(ada) == ["Countess"]


def test_nobody_comes_in_without_a_name(chat, open_window):
    page = open_window().new_page()
    page.goto(chat.address)
    dialog = page.get_by_role("dialog", name="Come in")
    dialog.wait_for(state="visible")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.type("   ")
    page.keyboard.press("Enter")
    # The browser may close it for a moment, before the page opens it again.
    dialog.wait_for(state="visible")


def test_phone_and_dark(open_window, join, picture):
    phone = join(
        open_window(
            390,
            780,
            color_scheme="dark",
            device_scale_factor=2,
            has_touch=True,
            is_mobile=True,
        ),
        "Katherine Johnson",
    )
    desktop = join(open_window(color_scheme="dark"), "Dorothy Vaughan")
    say(desktop, "Are the figures for the landing there?")
    wait_for_bubble(phone, "Are the figures for the landing there?")
    say(phone, "Checked by hand, to the last digit.\nThey hold.")
    wait_for_bubble(desktop, "Checked by hand, to the last digit.\nThey hold.")
    say(desktop, "an-address-that-has-no-blank-to-break-at/" * 4)
    wait_for_bubble(phone, "an-address-that-has-no-blank-to-break-at/" * 4)
    # Nothing sticks out at the side.
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    picture(desktop, "dark")
    picture(phone, "dark-phone")
    switch = phone.get_by_role("button", name=re.compile("here$"))
    switch.click()
    phone.get_by_role("heading", name="Here now").wait_for()
    picture(phone, "dark-phone-people")
    phone.keyboard.press("Escape")
    assert switch.get_attribute("aria-expanded") == "false"


CLOSE_CODE = """
([address, message]) => new Promise((resolve) => {
  const socket = new WebSocket(address);
  socket.onopen = () => socket.send(message);
  socket.onclose = ({ code, reason }) => resolve([code, reason]);
})
"""


@pytest.mark.parametrize("message", ["no JSON", "[]", '{"type": "say"}', "[" * 5000])
def test_what_no_page_sends_is_refused_with_a_reason(chat, open_window, message):
    page = open_window().new_page()
    page.goto(chat.address)
    arguments = [f"ws://127.0.0.1:{chat.port}/chat", message]
    code, reason = page.evaluate(CLOSE_CODE, arguments)
    assert (code, reason) == (1008, "not what a page of this chat sends")


def test_page_of_another_origin_cannot_connect(chat, open_window):
    page = open_window().new_page()  # about:blank, an opaque origin
    arguments = [f"ws://127.0.0.1:{chat.port}/chat", "{}"]
    code, _ = page.evaluate(CLOSE_CODE, arguments)
    assert code == 1006
    chat.wait_for_line("403 Forbidden")
    assert "403 Forbidden" in chat.take_faults()
