"""What is wrong with the image configuration of this host: every file, every complaint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trilby.errors import TrilbyError


def check_files(
    *,
    registries_conf: str | None = None,
    registries_conf_dir: str | None = None,
    registries_d: str | None = None,
    policy: str | None = None,
    authfile: str | None = None,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Read all files as an image operation would; returns complaints like ``path:line: text``.

    What is only a warning in a running daemon (an unknown key) is a complaint here. Asks no
    credential helpers and opens no connections.
    """
    from trilby.image.auth_files import read_auth_file, search_paths
    from trilby.image.policy import load_policy
    from trilby.image.registries_load import load
    from trilby.image.registriesd import load_registries_d

    def credentials() -> Sequence[str]:
        for place in search_paths(authfile, env):
            file = read_auth_file(place)
            for key in () if file is None else file.entries:
                assert file is not None
                file.credentials(key)
        return ()

    def trust() -> Sequence[str]:
        load_policy(policy, env=env)
        return ()

    return [
        *_complaints(lambda: load(registries_conf, registries_conf_dir, env).warnings),
        *_complaints(lambda: load_registries_d(registries_d, env=env).warnings),
        *_complaints(trust),
        *_complaints(credentials),
    ]


def _complaints(read: Callable[[], Sequence[str]]) -> list[str]:
    try:
        return list(read())
    except TrilbyError as error:
        return [str(error)]
