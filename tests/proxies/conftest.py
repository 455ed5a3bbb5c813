"""What the tests behind proxies share."""

import ssl
import subprocess

import pytest

from .setups import Gunicorn, Site, require


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make a certificate for localhost, and return the folder with its files."""
    openssl = require("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    key, chain = folder / "privkey.pem", folder / "fullchain.pem"
    command = [
        *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-keyout", key, "-out", chain, "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "combined.pem").write_bytes(chain.read_bytes() + key.read_bytes())
    return folder


@pytest.fixture(scope="session")
def trust(certificate):
    """A client's TLS context that trusts the certificate."""
    return ssl.create_default_context(cafile=certificate / "fullchain.pem")


@pytest.fixture(scope="session")
def running_sites(tmp_path_factory, certificate, trust):
    """Keep the sites that tests share, each started when first asked for."""
    sites = {}

    def get(kind, unix):
        if (kind, unix) not in sites:
            folder = tmp_path_factory.mktemp(kind)
            common = {"folder": folder, "certificate": certificate, "trust": trust}
            sites[kind, unix] = Site(kind, unix=unix, **common)
        return sites[kind, unix]

    yield get
    for site in sites.values():
        site.stop()


@pytest.fixture
def shared(running_sites):
    """Lend shared sites to one test, and look at gunicorn's log behind it."""
    lent = []

    def get(kind, unix=False):
        site = running_sites(kind, unix)
        site.gunicorn.allowed_faults = []
        site.gunicorn.mark = site.gunicorn.log.mark()
        lent.append(site)
        return site

    yield get
    for site in lent:
        site.gunicorn.check()


@pytest.fixture
def build(tmp_path, certificate, trust):
    """Build sites that end with the test."""
    built = []

    def build(kind, **details):
        common = {"folder": tmp_path, "certificate": certificate, "trust": trust}
        built.append(Site(kind, **common, **details))
        return built[-1]

    yield build
    for site in built:
        site.stop()


@pytest.fixture
def start():
    """Start gunicorns that end with the test, and look at their logs."""
    started = []

    def start(*options, **details):
        started.append(Gunicorn(*options, **details))
        return started[-1]

    yield start
    for server in started:
        try:
            if server.process.poll() is None:
                server.check()
        finally:
            server.stop()
