"""certs.d: which files go with which registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.image.certs import CertificateFiles, find_certificates
from trilby.image.errors import ConfigError


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("")
    return folder


def test_first_directory_that_exists(tmp_path: Path) -> None:
    system = (str(tmp_path / "etc"), str(tmp_path / "docker"))
    env = {"HOME": str(tmp_path / "home")}

    def find(registry: str) -> CertificateFiles:
        return find_certificates(registry, system_dirs=system, env=env)

    assert find("q.io:5000") == CertificateFiles()
    docker = make(tmp_path / "docker/q.io:5000", "ca.crt")
    assert find("q.io:5000").authorities == (str(docker / "ca.crt"),)
    make(tmp_path / "etc/q.io:5000", "README")
    assert find("q.io:5000") == CertificateFiles()
    own = make(tmp_path / "home/.config/containers/certs.d/q.io:5000", "b.crt", "a.crt")
    assert find("q.io:5000").authorities == (str(own / "a.crt"), str(own / "b.crt"))
    assert find("q.io") == find("q.io:5001") == CertificateFiles()


def test_pairs(tmp_path: Path) -> None:
    folder = make(tmp_path / "c", "x.cert", "x.key", "y.key", "y.cert", "notes.txt")
    assert find_certificates("any", cert_dir=folder).clients == (
        (str(folder / "x.cert"), str(folder / "x.key")),
        (str(folder / "y.cert"), str(folder / "y.key")),
    )


@pytest.mark.parametrize(
    ("name", "said"), [("x.cert", "missing key x.key"), ("x.key", "certificate x.cert")]
)
def test_half_a_pair(tmp_path: Path, name: str, said: str) -> None:
    folder = make(tmp_path / "c", name)
    with pytest.raises(ConfigError, match=said) as caught:
        find_certificates("any", cert_dir=folder)
    assert str(folder / name) in caught.value.message


def test_chosen_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"):
        find_certificates("any", cert_dir=tmp_path / "missing")
