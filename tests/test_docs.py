"""What the docs say is there is there, and what is there is in the docs."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import wsmiddleware
from wsmiddleware.metrics import METRICS
from wsmiddleware.options import Options
from wsmiddleware.transport import Receiver

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)` \|", DESIGN.partition("## The flow")[0], re.MULTILINE)
SOURCES = Path(wsmiddleware.__file__).parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("name", sorted(wsmiddleware.__all__))
def test_every_public_name_is_in_the_reference(name):
    assert re.search(rf"`(wsmiddleware\.)?{name}\b", REFERENCE)


def test_every_setting_is_in_the_reference_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", REFERENCE, re.MULTILINE))
    for field in fields(Options):
        shown = str(field.default).replace("'", '"')
        if isinstance(field.default, str):
            shown = f'"{shown}"'
        assert rows.get(field.name) == shown, field.name


def test_every_setting_is_in_the_deployment_with_its_default():
    """What the table has for the environment means what the default is."""
    table = re.findall(
        r"^\| `WSMIDDLEWARE_(\w+)` \| (?:`(.*?)`)? ?\|", DEPLOYMENT, re.M
    )
    assert [name.lower() for name, _ in table] == [f.name for f in fields(Options)]
    for field in fields(Options):
        text = dict(table)[field.name.upper()]
        variable = {f"WSMIDDLEWARE_{field.name.upper()}": text}
        meant = getattr(Options.from_environment({}, variable), field.name)
        default = getattr(Options(), field.name)
        assert meant == (list(default) if isinstance(default, tuple) else default)


def test_every_metric_is_in_the_deployment():
    section = DEPLOYMENT[DEPLOYMENT.index("## Metrics") :]
    rows = re.findall(r"^\| `(\w+)` \| (gauge|counter) \|(.*)", section, re.M)
    assert {(name, kind) for name, kind, _ in rows} == {
        (metric.name, metric.kind) for metric in METRICS
    }
    for metric in METRICS:
        (text,) = [text for name, _, text in rows if name == metric.name]
        assert f"by `{metric.label}`" in text or not metric.label


def test_every_attribute_of_a_websocket_is_in_the_reference():
    section = REFERENCE[REFERENCE.index("## `WebSocket`") :]
    described = set(re.findall(r"`(\w+)[`(]", section.partition("## Exceptions")[0]))
    # What other rooms call is public to them only.
    internal = {
        *dir(Receiver),
        "check_deadlines",
        "end_overdue",
        "go_away",
        "is_gone",
        "outstanding",
        "reading_is_paused",
        "send_keepalive",
    }
    public = {
        name
        for name in dir(wsmiddleware.WebSocket)
        if not name.startswith("_") and name not in internal
    }
    assert public - described == set()


def test_every_close_code_is_in_the_reference():
    described = dict(re.findall(r"`([A-Z_]+)`\s+(\d{4})", REFERENCE))
    assert {code.name: str(code.value) for code in wsmiddleware.CloseCode} == described


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_every_module_has_its_room_in_the_design():
    modules = {path.stem for path in SOURCES.glob("*.py")}
    assert modules - {"__init__", "__main__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_imports_only_from_the_rooms_above_it(room):
    above = ROOMS[: ROOMS.index(room)]
    imported = set()
    for node in ast.walk(ast.parse((SOURCES / f"{room}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, module = node.module.partition(".")
            if package == "wsmiddleware" and not module.startswith("_"):
                names = [module] if module else [alias.name for alias in node.names]
                imported.update(names)
    assert imported - set(above) == set()
