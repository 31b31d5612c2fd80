"""Credentials: search order, keys, helpers, and writing without losing anything."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from trilby.image.auth import (
    Credentials,
    decode_basic,
    get_credentials,
    list_credentials,
    remove_all_credentials,
    remove_credentials,
    store_credentials,
)
from trilby.image.errors import CredentialsError, CredentialsNotFound

HELPER = """#!/bin/sh
# Keeps one file per server; knows nothing of the rest.
cd "$HELPER_STORE" || exit 9
case "$1" in
get) read -r server
  file=$(echo "$server" | tr / _)
  [ -e "$file" ] && exec cat "$file"
  echo "credentials not found in native keychain"; exit 1;;
store) input=$(cat); server=${input#*'"ServerURL":"'}
  printf %s "$input" > "$(echo "${server%%'"'*}" | tr / _)";;
erase) read -r server; rm "$server" 2>/dev/null || {
  echo "credentials not found in native keychain"; exit 1; };;
list) printf '{"one.example":"ann"}';;
esac
"""


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A person's environment; the files below it do not exist yet."""
    (tmp_path / "run").mkdir()
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper called ``test``; the directory that it keeps things in."""
    program = write(tmp_path / "bin" / "docker-credential-test", HELPER)
    program.chmod(0o755)
    store = tmp_path / "helper"
    store.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPER_STORE", str(store))
    return store


def user(key: str, env: dict[str, str], **more: str) -> str | None:
    found = get_credentials(key, env=env, authfile=more.get("authfile"))
    return None if found is None else found.username


def test_most_specific_key_wins(tmp_path: Path, env: dict[str, str]) -> None:
    auths = {"q.io": auth("host"), "q.io/a": auth("ns"), "q.io/a/b": auth("repo")}
    auths |= {"https://old.example/v1/": auth("url"), "other.example/x": auth("namespace")}
    write(tmp_path / "run/containers/auth.json", {"auths": auths})
    wanted = {
        "q.io": "host",
        "q.io/c": "host",
        "q.io/a": "ns",
        "q.io/a/c/d": "ns",
        "q.io/a/b": "repo",
        "q.io/ab": "host",
        "q.io.evil": None,
        "q.io:5000": None,
        "old.example/x": "url",
        "other.example/y": None,
    }
    assert {key: user(key, env) for key in wanted} == wanted


@pytest.mark.parametrize(
    "key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"]
)
def test_docker_hubs_names(tmp_path: Path, env: dict[str, str], key: str) -> None:
    write(tmp_path / "run/containers/auth.json", {"auths": {key: auth("hub")}})
    assert user("docker.io/library/busybox", env) == "hub"


def test_search_order(tmp_path: Path, env: dict[str, str]) -> None:
    home = tmp_path / "home"
    write(home / ".dockercfg", {"x.io": auth("dockercfg"), "q.io": auth("dockercfg")})
    assert user("q.io/x", env) == "dockercfg"
    write(home / ".docker/config.json", {"auths": {"q.io": auth("docker")}})
    assert user("q.io/x", env) == "docker"
    write(home / ".config/containers/auth.json", {"auths": {"q.io": auth("config")}})
    assert user("q.io/x", env) == "config"
    assert user("x.io/y", env) == "dockercfg"
    write(tmp_path / "run/containers/auth.json", {"auths": {"q.io": auth("runtime")}})
    assert user("q.io/x", env) == "runtime"
    chosen = write(tmp_path / "chosen.json", {"auths": {"z.io": auth("chosen")}})
    assert user("q.io/x", env, authfile=str(chosen)) is None
    env["REGISTRY_AUTH_FILE"] = str(chosen)
    assert (user("z.io", env), user("q.io/x", env)) == ("chosen", None)


def test_docker_config_and_xdg_directories(tmp_path: Path, env: dict[str, str]) -> None:
    write(tmp_path / "d/config.json", {"auths": {"q.io": auth("docker")}})
    assert user("q.io", env | {"DOCKER_CONFIG": str(tmp_path / "d")}) == "docker"
    write(tmp_path / "x/containers/auth.json", {"auths": {"q.io": auth("xdg")}})
    assert user("q.io", env | {"XDG_CONFIG_HOME": str(tmp_path / "x")}) == "xdg"


def test_kinds_of_entries(tmp_path: Path, env: dict[str, str]) -> None:
    auths = {
        "token.io": {"identitytoken": "t"},
        "both.io": auth("u") | {"identitytoken": "t"},
        "colon.io": auth("u", "a:b"),
        "clear.io": {"username": "u", "password": "p"},
        "empty.io": {},
        "nothing.io": None,
        "nocolon.io": {"auth": base64.b64encode(b"x").decode()},
        "nul.io": auth("u", "p\0\0"),
    }
    write(tmp_path / "run/containers/auth.json", {"auths": auths})
    found = {key: get_credentials(key, env=env) for key in auths}
    assert found == {
        "token.io": Credentials(identity_token="t"),
        "both.io": Credentials("u", "pw", "t"),
        "colon.io": Credentials("u", "a:b"),
        "clear.io": Credentials("u", "p"),
        "empty.io": None,
        "nothing.io": None,
        "nocolon.io": None,
        "nul.io": Credentials("u", "p"),
    }
    assert "pw" not in repr(found["both.io"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n"auths": {,}}', "auth.json:2:"),
        ("[]", "must be a JSON object"),
        ('{\n"auths": []}', "auth.json:2: auths must be an object"),
        ('{"auths": {\n"q.io": 1}}', "auth.json:2: the entry 'q.io' must be an object"),
        ('{"auths": {\n\n"q.io": {"auth": "%%%"}}}', "auth.json:3: auth of 'q.io' is not base64"),
        ('{"auths": {"q.io": {"auth": 3}}}', "must be a string"),
        ("\x00", "auth.json:1:"),
        ("[" * 100_000, "not a JSON document"),
    ],
)
def test_malformed_files(tmp_path: Path, env: dict[str, str], text: str, said: str) -> None:
    path = write(tmp_path / "run/containers/auth.json", text)
    with pytest.raises(CredentialsError) as caught:
        get_credentials("q.io", env=env)
    assert said in caught.value.message and str(path) in caught.value.message
    # Another place with an answer is good enough.
    write(tmp_path / "home/.docker/config.json", {"auths": {"q.io": auth("docker")}})
    assert user("q.io", env) == "docker"


def test_missing_files(tmp_path: Path, env: dict[str, str]) -> None:
    assert user("q.io", env) is None
    with pytest.raises(CredentialsError, match="does not exist"):
        user("q.io", env, authfile=str(tmp_path / "missing"))
    write(tmp_path / "run/containers/auth.json", "  \n")
    assert user("q.io", env) is None


def test_store_keeps_the_rest(tmp_path: Path, env: dict[str, str]) -> None:
    path = write(
        tmp_path / "run/containers/auth.json",
        {"auths": {"a.io": auth("a")}, "HttpHeaders": {"X": "y"}, "plugins": None},
    )
    path.chmod(0o644)
    assert store_credentials("q.io/ns", Credentials("u", "p\u00e9"), env=env) == str(path)
    document = json.loads(path.read_text())
    assert document["HttpHeaders"] == {"X": "y"} and "plugins" in document
    assert set(document["auths"]) == {"a.io", "q.io/ns"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith('{\n\t"auths"')
    assert [entry.name for entry in path.parent.iterdir()] == ["auth.json"]
    assert get_credentials("q.io/ns/x", env=env) == Credentials("u", "p\u00e9")
    assert list_credentials(env=env) == {"a.io": "a", "q.io/ns": "u"}


def test_store_makes_directory_and_follows_link(tmp_path: Path, env: dict[str, str]) -> None:
    target = tmp_path / "real.json"
    link = tmp_path / "link.json"
    link.symlink_to(target)
    store_credentials("q.io", Credentials("u", "p"), authfile=link, env=env)
    assert link.is_symlink() and user("q.io", env, authfile=str(target)) == "u"
    store_credentials("q.io", Credentials("u", "p"), env=env)
    assert stat.S_IMODE((tmp_path / "run/containers").stat().st_mode) == 0o700


def test_missing_runtime_directory(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "run").rmdir()
    assert user("q.io", env) is None
    with pytest.raises(CredentialsError, match="XDG_RUNTIME_DIR"):
        store_credentials("q.io", Credentials("u", "p"), env=env)
    assert not (tmp_path / "run").exists()


def test_two_logins_at_once(env: dict[str, str]) -> None:
    def login(number: int) -> None:
        store_credentials(f"r{number}.io", Credentials("u", "p"), env=env)

    threads = [threading.Thread(target=login, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list_credentials(env=env)) == 8


@pytest.mark.parametrize("key", ["https://q.io", "q.io/x:tag", "", "q.io/UPPER"])
def test_invalid_keys(env: dict[str, str], key: str) -> None:
    with pytest.raises(CredentialsError, match="cannot log in"):
        store_credentials(key, Credentials("u", "p"), env=env)


def test_remove(tmp_path: Path, env: dict[str, str]) -> None:
    path = write(
        tmp_path / "run/containers/auth.json",
        {"auths": {"https://index.docker.io/v1/": auth("hub"), "q.io": auth("a"), "b.io": {}}},
    )
    remove_credentials("docker.io", env=env)
    remove_credentials("q.io", env=env)
    assert json.loads(path.read_text()) == {"auths": {"b.io": {}}}
    with pytest.raises(CredentialsNotFound, match="not logged in to q.io"):
        remove_credentials("q.io", env=env)
    write(tmp_path / "home/.docker/config.json", {"auths": {"q.io": auth("docker")}})
    with pytest.raises(CredentialsNotFound) as caught:
        remove_credentials("q.io", env=env)
    assert "another file" in caught.value.hint
    assert remove_all_credentials(env=env) == ["b.io"]
    assert remove_all_credentials(env=env) == []


def test_helper_of_one_registry(tmp_path: Path, env: dict[str, str], helper: Path) -> None:
    path = write(
        tmp_path / "run/containers/auth.json",
        {"credHelpers": {"q.io": "test"}, "auths": {"q.io": auth("file")}},
    )
    assert user("q.io/x", env) is None
    assert store_credentials("q.io", Credentials("u", "p<>"), env=env) == "test"
    assert json.loads((helper / "q.io").read_text()) == {
        "ServerURL": "q.io",
        "Username": "u",
        "Secret": "p<>",
    }
    assert get_credentials("q.io/x", env=env) == Credentials("u", "p<>")
    assert list_credentials(env=env)["q.io"] == "u"
    remove_credentials("q.io", env=env)
    assert list(helper.iterdir()) == []
    assert "q.io" in json.loads(path.read_text())["credHelpers"]


def test_helpers_of_registries_conf(env: dict[str, str], helper: Path) -> None:
    helpers = ("test", "containers-auth.json")
    token = Credentials(identity_token="secret")
    assert store_credentials("q.io", token, helpers=helpers, env=env) == "test"
    assert get_credentials("q.io/a/b", helpers=helpers, env=env) == token
    # A helper knows registries only, so a namespace goes to the next place.
    assert store_credentials("q.io/ns", Credentials("n", "p"), helpers=helpers, env=env).endswith(
        "auth.json"
    )
    assert list_credentials(helpers=helpers, env=env) == {"one.example": "ann", "q.io/ns": "n"}
    with pytest.raises(CredentialsError, match="knows whole registries only"):
        store_credentials("q.io/ns", token, helpers=("test",), env=env)


def test_credentials_store_of_docker(tmp_path: Path, env: dict[str, str], helper: Path) -> None:
    write(
        tmp_path / "home/.docker/config.json",
        {"credsStore": "test", "auths": {"q.io": {}, "https://index.docker.io/v1/": {}}},
    )
    entry = {"ServerURL": "x", "Username": "hub", "Secret": "p"}
    write(helper / "https:__index.docker.io_v1_", entry)
    assert user("docker.io/library/x", env) == "hub"
    assert user("q.io", env) is None
    write(tmp_path / "home/.docker/config.json", {"credsStore": "missing"})
    assert user("q.io", env) is None


def test_helpers_that_fail(tmp_path: Path, env: dict[str, str], helper: Path) -> None:
    path = tmp_path / "run/containers/auth.json"
    write(path, {"credHelpers": {"q.io": "missing"}})
    with pytest.raises(CredentialsError, match="docker-credential-missing cannot be run"):
        user("q.io", env)
    write(path, {"credHelpers": {"q.io": "../../bin/sh"}})
    with pytest.raises(CredentialsError, match="without a path"):
        user("q.io", env)
    write(path, {"credHelpers": {"q.io": "test"}})
    write(helper / "q.io", "not json")
    with pytest.raises(CredentialsError, match="answer of docker-credential-test"):
        user("q.io", env)
    helper.joinpath("q.io").unlink()
    helper.rmdir()
    with pytest.raises(CredentialsError, match="docker-credential-test get for q.io failed"):
        user("q.io", env)


def test_basic() -> None:
    assert decode_basic(auth("u", "a:b")["auth"]) == ("u", "a:b")
    with pytest.raises(CredentialsError) as caught:
        decode_basic("c2VjcmV0%")
    assert "c2V" not in str(caught.value)
