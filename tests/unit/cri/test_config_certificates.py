"""TLS files of trilby.conf: pairs, dates, and what is no certificate."""

from __future__ import annotations

import base64
import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilby.cri.config_certificates import check_certificates
from trilby.cri.config_finding import Severity
from trilby.cri.config_load import Loaded, load
from trilby.system.certificates import certificate_dates

DAY = 86400


def make(directory: Path, name: str, days: int) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days), "-subj", "/CN=x"),
            *("-keyout", f"{name}.key", "-out", f"{name}.crt"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    (directory / f"{name}.key").chmod(0o600)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    make(directory, "one", 90)
    make(directory, "two", 90)
    # After 2050 dates are written in another form.
    make(directory, "long", 40 * 365)
    (directory / "storage.conf").write_text("")
    (directory / "junk").write_text("junk")
    return directory


def configured(place: Path, cert: str, key: str, more: str = "") -> Loaded:
    file = place / "trilby.conf"
    file.write_text(
        "[trilby.api]\nstream_enable_tls = true\n"
        f'stream_tls_cert = "{place}/{cert}"\nstream_tls_key = "{place}/{key}"\n{more}'
    )
    return load(file, env={"CONTAINERS_STORAGE_CONF": str(place / "storage.conf")})


def said(loaded: Loaded, now: float | None = None) -> list[str]:
    return [finding.text().splitlines()[0] for finding in check_certificates(loaded, now)]


def test_a_pair_that_is_good(place: Path) -> None:
    assert said(configured(place, "one.crt", "one.key", f'stream_tls_ca = "{place}/two.crt"')) == []


@pytest.mark.parametrize("name", ["one", "long"])
def test_dates(place: Path, name: str) -> None:
    begin, end = certificate_dates((place / f"{name}.crt").read_text())
    assert abs(begin - time.time()) < DAY
    assert end - begin == (90 if name == "one" else 40 * 365) * DAY
    loaded = configured(place, f"{name}.crt", f"{name}.key")
    before, late, after = said(loaded, begin - 1), said(loaded, end - DAY), said(loaded, end + 1)
    assert "is not valid before" in before[0] and ":3:1: error: " in before[0]
    assert "expires on" in late[0] and ":3:1: warning: " in late[0]
    assert "expired on" in after[0] and ":3:1: error: " in after[0]


@pytest.mark.parametrize(
    ("cert", "key", "what"),
    [
        ("one.crt", "two.key", ":3:1: error: trilby.api.stream_tls_cert is .* cannot be used with"),
        ("junk", "one.key", ":3:1: error: trilby.api.stream_tls_cert is .* cannot be used with"),
        ("one.crt", "junk", ":3:1: error: trilby.api.stream_tls_cert is .* cannot be used with"),
        ("none", "one.key", ":3:1: error: trilby.api.stream_tls_cert is .* cannot be read"),
        ("one.crt", "none", ":4:1: error: trilby.api.stream_tls_key is .* cannot be read"),
    ],
)
def test_files_that_do_not_do(place: Path, cert: str, key: str, what: str) -> None:
    (found,) = said(configured(place, cert, key))
    assert re.search(what, found)


@pytest.mark.parametrize("name", ["junk", "none"])
def test_authorities_of_clients(place: Path, name: str) -> None:
    loaded = configured(place, "one.crt", "one.key", f'stream_tls_ca = "{place}/{name}"')
    (found,) = said(loaded)
    assert ":5:1: error: trilby.api.stream_tls_ca is " in found


def test_a_key_that_others_may_read(place: Path) -> None:
    (place / "open.key").write_bytes((place / "one.key").read_bytes())
    (place / "open.key").chmod(0o644)
    (found,) = check_certificates(configured(place, "one.crt", "open.key"))
    assert found.severity is Severity.WARNING and found.hint == f"chmod 600 {place}/open.key"


def test_files_that_are_not_used_are_not_looked_at(place: Path) -> None:
    file = place / "trilby.conf"
    file.write_text('[trilby.metrics]\nmetrics_cert = "/none"\nmetrics_key = "/none"\n')
    env = {"CONTAINERS_STORAGE_CONF": str(place / "storage.conf")}
    assert said(load(file, env=env)) == []
    file.write_text(file.read_text() + "enable_metrics = true\n")
    assert len(said(load(file, env=env))) == 2


@settings(deadline=None)
@given(st.binary(max_size=64) | st.binary(min_size=1, max_size=40).map(lambda b: b"\x30\x28" + b))
def test_what_is_no_certificate_is_said_to_be_none(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    with pytest.raises(ValueError):
        certificate_dates(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError):
        certificate_dates(text)


def test_a_certificate_that_is_cut_off(place: Path) -> None:
    lines = (place / "one.crt").read_text().splitlines()
    for keep in range(1, len(lines) - 4):
        text = "\n".join([*lines[:keep], lines[-1]])
        with pytest.raises(ValueError):
            certificate_dates(text)
