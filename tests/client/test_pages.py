"""The client's pages say what is there."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest

from wsmiddleware.client import SHARED, ClientOptions
from wsmiddleware.prompt import add_arguments

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def rows(page):
    return dict(re.findall(r"^\| (`.+?`) \| (.+?) \|", page, re.MULTILINE))


def test_every_setting_is_on_the_page_with_its_default():
    described = rows((DOCS / "client.md").read_text())
    for field in fields(ClientOptions):
        default = described[f"`{field.name}`"]
        if field.name != "establishing":
            assert default == f"`{field.default}`", field.name


@pytest.mark.parametrize("name", SHARED)
def test_every_shared_setting_is_on_the_page(name):
    assert f"`{name}`" in (DOCS / "client.md").read_text()


def test_every_option_is_on_the_page():
    page = (DOCS / "prompt.md").read_text()
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options = [name for action in parser._actions for name in action.option_strings]
    assert len(options) > 10
    for name in options:
        assert re.search(rf"^\| .*`{name}\b", page, re.MULTILINE), name


def test_the_examples_are_python():
    blocks = re.findall(
        r"```python\n(.+?)```", (DOCS / "client.md").read_text(), re.DOTALL
    )
    assert len(blocks) == 4
    for block in blocks:
        compile(block, "client.md", "exec")
