"""What the role registries writes, out of its variables."""

from __future__ import annotations

import base64

__all__ = ["FilterModule"]

_NAMES = {"ca": "ca.crt", "cert": "client.cert", "key": "client.key"}


class FilterModule:
    """Registers the filters."""

    def filters(self) -> dict[str, object]:
        return {
            "registries_conf": registries_conf,
            "auth_json": auth_json,
            "certificate_files": certificate_files,
            "text_files": text_files,
        }


def registries_conf(
    registries: list[dict[str, object]],
    search: list[str],
    aliases: dict[str, str],
    mode: str,
) -> dict[str, object]:
    """The tables of registries.conf; what is not said is left out."""
    tables: dict[str, object] = {}
    if search:
        tables["unqualified-search-registries"] = search
    if mode:
        tables["short-name-mode"] = mode
    if registries:
        tables["registry"] = [_registry(registry) for registry in registries]
    if aliases:
        tables["aliases"] = aliases
    return tables


def _registry(registry: dict[str, object]) -> dict[str, object]:
    table: dict[str, object] = {
        "prefix": registry.get("prefix") or registry["location"],
        "location": registry["location"],
    }
    for key in ("insecure", "blocked"):
        if registry.get(key):
            table[key] = True
    if registry.get("mirrors"):
        table["mirror"] = registry["mirrors"]
    return table


def auth_json(credentials: dict[str, dict[str, str]]) -> dict[str, object]:
    """The content of auth.json for usernames and passwords by registry."""
    return {
        "auths": {
            place: {"auth": _encoded(f"{who['username']}:{who['password']}")}
            for place, who in credentials.items()
        }
    }


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def certificate_files(certificates: dict[str, dict[str, str]], folder: str) -> list[dict[str, str]]:
    """One entry of the module ``files`` for each certificate and key, by registry in the folder."""
    return [
        {
            "path": f"{folder}/{place}/{_NAMES[kind]}",
            "content": text.strip() + "\n",
            "mode": "0600" if kind == "key" else "0644",
        }
        for place, files in certificates.items()
        for kind, text in files.items()
    ]


def text_files(
    texts: dict[str, str], folder: str, suffix: str = "", mode: str = "0644", head: str = ""
) -> list[dict[str, str]]:
    """One entry of the module ``files`` for each text, by its name in the folder."""
    return [
        {
            "path": f"{folder}/{name}{suffix}",
            "content": f"{head}\n{text}" if head else text,
            "mode": mode,
        }
        for name, text in texts.items()
    ]
