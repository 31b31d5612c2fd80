"""auth.json: what podman and skopeo write we read, and the other way round."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trilby.image.auth import (
    Credentials,
    get_credentials,
    list_credentials,
    remove_credentials,
    store_credentials,
)
from trilby.image.errors import CredentialsError, CredentialsNotFound

TOOLS = [tool for tool in ("podman", "skopeo", "buildah") if shutil.which(tool)]
pytestmark = pytest.mark.skipif(not TOOLS, reason="needs podman, skopeo or buildah")
WANTED = "Basic " + base64.b64encode(b"ann:s3cret:x").decode()


class _Registry(BaseHTTPRequestHandler):
    """GET /v2/ with a password, and nothing else."""

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == WANTED
        self.send_response(200 if allowed else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        return


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    # podman refuses a runroot of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="auth-") as home:
        run = Path(home, "run")
        run.mkdir()
        yield {"HOME": home, "XDG_RUNTIME_DIR": str(run)}


def tool(
    name: str, env: dict[str, str], verb: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    options: list[str] = []
    if name in ("podman", "buildah"):
        # Never the machine's own store.
        options = ["--root", env["HOME"] + "/root", "--runroot", env["HOME"] + "/rr"]
        options += ["--storage-driver", "vfs"]
    return subprocess.run(
        [name, *options, verb, *arguments],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", TOOLS)
def test_their_login_is_ours(registry: str, env: dict[str, str], name: str) -> None:
    arguments = ("--tls-verify=false", "-u", "ann", "-p", "s3cret:x", registry)
    done = tool(name, env, "login", *arguments)
    assert done.returncode == 0, done.stderr
    assert get_credentials(f"{registry}/any/repo", env=env) == Credentials("ann", "s3cret:x")
    assert list_credentials(env=env) == {registry: "ann"}
    remove_credentials(registry, env=env)
    assert tool(name, env, "login", "--get-login", registry).returncode != 0


@pytest.mark.parametrize("name", TOOLS)
def test_our_login_is_theirs(registry: str, env: dict[str, str], name: str) -> None:
    path = store_credentials(registry, Credentials("ann", "s3cret:x"), env=env)
    store_credentials("other.example/team", Credentials("bob", "\u00fc"), env=env)
    done = tool(name, env, "login", "--get-login", registry)
    assert done.stdout.strip() == "ann", done.stderr
    assert tool(name, env, "logout", registry).returncode == 0
    with pytest.raises(CredentialsNotFound):
        remove_credentials(registry, env=env)
    assert list(json.loads(Path(path).read_text())["auths"]) == ["other.example/team"]
    assert get_credentials("other.example/team/x", env=env) == Credentials("bob", "\u00fc")


@pytest.mark.parametrize("name", TOOLS)
def test_same_files_are_wrong(env: dict[str, str], name: str) -> None:
    path = Path(env["XDG_RUNTIME_DIR"], "containers/auth.json")
    path.parent.mkdir()
    for text in ("{", "[]", '{"auths": []}', '{"auths": {"q.io": {"auth": "%"}}}'):
        path.write_text(text)
        done = tool(name, env, "login", "--get-login", "q.io")
        assert done.returncode != 0 and ("json" in done.stderr or "base64" in done.stderr)
        with pytest.raises(CredentialsError):
            get_credentials("q.io", env=env)
