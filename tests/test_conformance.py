"""docs/conformance.md names tests that are there, and all kinds of vectors."""

import ast
import re
from pathlib import Path

import pytest
import wire

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "conformance.md").read_text()
RULES = [vector["rule"] for vector in wire.load("rfc6455")["vectors"]]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAGE))))
def test_a_named_test_is_there(name):
    path, _, test = name.partition("::")
    tree = ast.parse((HERE / path).read_text())
    assert test in {getattr(node, "name", None) for node in tree.body}


def test_each_row_names_its_proof():
    for row in re.findall(r"^\| (?!rule|-).*$", PAGE, re.MULTILINE):
        rule, proof = row.split(" | ")[:2]
        assert re.search(r"\.py::|vectors ", proof), rule


def test_named_vectors_are_there_and_all_are_named():
    named = set(re.findall(r"vectors ([\d.-]+\d)", PAGE))
    for prefix in named:
        assert any(rule.startswith(prefix) for rule in RULES), prefix
    numbered = [rule for rule in RULES if rule[0].isdigit()]
    assert [rule for rule in numbered if not rule.startswith(tuple(named))] == []


def test_files_that_are_named_are_there():
    for name in re.findall(r"`((?:server/|client/)?test_\w+\.py)`", PAGE):
        assert (HERE / name).exists(), name
    for name in re.findall(r"`(\w+\.json)`", PAGE):
        assert (HERE / "vectors" / name).exists(), name
