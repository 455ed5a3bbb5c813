"""`wsmiddleware doctor` names what is wrong with a real proxy."""

import os
import re

import pytest

from wsmiddleware.__main__ import main

from .test_configuration import BREAKING, IMPATIENT


@pytest.fixture
def visit(capsys, monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def visit(site, *arguments):
        url = f"ws://{site.proxy.host('http')}/echo"
        status = main(["doctor", url, *arguments])
        return status, capsys.readouterr().out

    return visit


ADVICE = {
    "nginx without Upgrade": (426, "proxy_set_header Upgrade"),
    "nginx without Connection": (400, "pass Upgrade, Connection"),
    "nginx without HTTP/1.1": (505, "proxy_http_version 1.1"),
    "nginx without Host": (403, "pass Host on"),
}


@pytest.mark.parametrize("case", ADVICE)
def test_line_that_is_missing(build, visit, case):
    kind, line, instead, *_ = BREAKING[case]
    site = build(kind, proxy_changes={line: instead})
    status, output = visit(site)
    code, advice = ADVICE[case]
    assert status == 1
    assert re.search(rf"^wrong .*\({code}\)", output, re.MULTILINE), output
    assert advice in re.sub(r"\s+(-> )?", " ", output)


@pytest.mark.parametrize("kind", IMPATIENT)
def test_proxy_that_is_less_patient_than_we_are(build, visit, kind):
    changes = IMPATIENT[kind]
    site = build(kind, proxy_changes=changes, application="application:silent")
    _, output = visit(site, "--idle", "9")
    cut = re.search(r"^wrong .*cut off after (\d\.\d) s", output, re.MULTILINE)
    assert cut is not None, output
    assert 1.9 <= float(cut[1]) < 8
    assert "proxy_read_timeout" in output


@pytest.mark.parametrize("kind", IMPATIENT)
def test_proxy_that_pings_keep_patient(build, visit, kind):
    changes = IMPATIENT[kind]
    site = build(kind, proxy_changes=changes, application="application:pinging")
    _, output = visit(site, "--idle", "4.5")
    assert re.search("^ok .*open after 4.5 s", output, re.MULTILINE), output
