"""The options of trilby.conf in words, with the defaults that the engine has: trilby.conf(5).

What an option means is said here and nowhere else; its name, type and default come from the code
that reads it, and a test compares the two. ``python -m trilby.cli.manpage_conf`` prints the table
of docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from trilby.cli.manpage_roff import Page, bold, italic
from trilby.pods.config import CgroupManager, EngineConfig, RuntimeHandler
from trilby.pods.config_load import DEFAULT_FILE, HANDLER, NETWORK, RUNTIME

Default = str | int | bool | tuple[str, ...] | dict[str, str]

TABLES: Final = {
    "trilby.runtime": RUNTIME,
    "trilby.network": NETWORK,
    "trilby.runtime.runtimes.NAME": HANDLER,
}

MEANINGS: Final[dict[str, dict[str, str]]] = {
    "trilby.runtime": {
        "default_runtime": "The runtime handler of pods that name none. Empty: crun if it is"
        " installed, else runc.",
        "conmon": "The conmon to run: a path, or a name that is looked up in PATH.",
        "cgroup_manager": "Who makes cgroups: `systemd` (by scopes and slices) or `cgroupfs` (the"
        " OCI runtime itself). Must be the same as the kubelet's cgroup driver.",
        "cgroup_parent": "Parent cgroup of pods for which nobody names one.",
        "infra_command": "The process that holds the PID namespace of pods that share one.",
        "log_size_max": "Bytes after which conmon begins a container's log anew. Negative: never.",
        "log_to_journald": "Write the output of containers to the journal, not to files.",
        "no_sync_log": "Do not flush logs to the disk when they are rotated or a container ends.",
        "pids_limit": "Processes that a container may have if it does not say so itself."
        " Negative: no limit.",
        "container_min_memory": "The smallest memory limit, in bytes, with which a container is"
        " started.",
        "ctr_stop_timeout": "Seconds of grace for callers that name none; read and kept, not used"
        " by the commands of this version.",
        "shm_size": "Size in bytes of the pod's /dev/shm; the annotation io.trilby.shm-size of a"
        " pod overrides it.",
        "default_ulimits": "Resource limits of containers: `name=soft:hard`.",
        "default_sysctls": "Sysctls of pods, as `name=value`; those of namespaces that a pod does"
        " not have are left out.",
        "default_env": "Environment of containers, as `NAME=value`; images and pods override it.",
        "default_capabilities": "Capabilities of unprivileged containers. Empty: the built-in"
        " nine.",
        "add_inheritable_capabilities": "Put the capabilities into the inheritable set too.",
        "seccomp_profile": "The profile that RuntimeDefault means. Empty: the first of"
        " /etc/containers/seccomp.json and /usr/share/containers/seccomp.json.",
        "privileged_seccomp_profile": "The profile of privileged containers. Empty: none.",
        "read_only": "Give every container a read-only root file system.",
    },
    "trilby.network": {
        "network_dir": "Where CNI configuration lists are looked for: a directory, or a list of"
        " them.",
        "plugin_dirs": "Where CNI plugins are looked for, in this order.",
        "cni_default_network": "Name of the CNI network of pods. Empty: the first file by name.",
        "cni_cache_dir": "Where results of CNI plugins are kept, in libcni's format.",
        "bridge_name": "The bridge of the built-in network, which serves where no CNI configuration"
        " is installed. Empty: there is no built-in network.",
        "bridge_subnet": "IPv4 addresses of the built-in network.",
        "bridge_subnet_v6": "IPv6 addresses of the built-in network. Empty: none.",
    },
    "trilby.runtime.runtimes.NAME": {
        "runtime_path": "The program. Empty: NAME, looked up in PATH.",
        "runtime_root": "Where it keeps its state. Empty: runtime/NAME in the engine's run root.",
        "monitor_path": "The conmon of this handler. Empty: the one of [trilby.runtime].",
        "monitor_env": "Environment of that conmon, as `NAME=value`.",
        "allowed_annotations": "Annotations that pods of this handler may use; read and kept, not"
        " used by this version.",
    },
}


class Option(msgspec.Struct, frozen=True):
    """One option: its type and default as a person writes them in TOML."""

    table: str
    name: str
    kind: str
    default: str
    meaning: str


def options() -> Iterator[Option]:
    """Every option that the engine reads, table by table, in the order of the code."""
    for table, fields in TABLES.items():
        owner = RuntimeHandler(name="") if fields is HANDLER else EngineConfig()
        for name, field in fields.items():
            value: Default = getattr(owner, field)
            default = "systemd where it runs the host, else cgroupfs"
            if not isinstance(value, CgroupManager):
                default = _toml(value)
            yield Option(table, name, _kind(value), default, MEANINGS[table][name])


def markdown() -> str:
    """The table of docs/operations.md."""
    lines = []
    for table in TABLES:
        lines += [f"`[{table}]`", "", "| option | type | default | meaning |", "|---|---|---|---|"]
        for option in options():
            if option.table == table:
                default = option.default if " " in option.default else f"`{option.default}`"
                lines.append(f"| `{option.name}` | {option.kind} | {default} | {option.meaning} |")
        lines.append("")
    return "\n".join(lines)


def conf_page(version: str) -> str:
    """The page trilby.conf(5)."""
    page = Page("trilby.conf", 5, version)
    page.section("NAME")
    page.line(r"trilby.conf \- settings of the trilby pod engine")
    page.section("SYNOPSIS")
    page.line(f"{italic(DEFAULT_FILE)}, {italic(DEFAULT_FILE + '.d/*.conf')}")
    page.section("DESCRIPTION")
    page.paragraph(
        f"A TOML file. The main file is read first, if it is there, then the files of"
        f" {DEFAULT_FILE}.d that end in .conf, in the order of their names; a later value of an"
        " option replaces an earlier one. With --config FILE the files are FILE and FILE.d/*.conf,"
        " and FILE must exist."
    )
    page.paragraph(
        "Options have the names that CRI-O gives to the same meaning, under another root table."
        " An unknown option is a warning; a value of the wrong type is an error with file and"
        " line. Maps are written as lists of `name=value`. The tables trilby.api, trilby.image,"
        " trilby.metrics, trilby.stats and trilby.tracing are left to other programs."
    )
    page.paragraph("Flags of trilby(1) that name the same thing override the files.")
    for table in TABLES:
        page.section(f"TABLE [{table.upper()}]" if table.isupper() else f"TABLE [{table}]")
        for option in options():
            if option.table == table:
                page.item(
                    f"{bold(option.name)} = {italic(option.kind)}",
                    option.meaning,
                    f"Default: {option.default}",
                )
    page.section("EXAMPLES")
    page.paragraph("The runtime of pods, and a limit for the size of logs:")
    page.verbatim(["[trilby.runtime]", 'default_runtime = "runc"', "log_size_max = 10485760"])
    page.paragraph("A further runtime handler:")
    page.verbatim(["[trilby.runtime.runtimes.youki]", 'runtime_path = "/usr/bin/youki"'])
    page.section("FILES")
    page.item(italic(DEFAULT_FILE), "The main file; it may be missing.")
    page.item(italic(f"{DEFAULT_FILE}.d/*.conf"), "Drop-ins, in the order of their names.")
    page.section("SEE ALSO")
    page.references(["trilby(1)", "trilby-pod(1)", "crio.conf(5)", "conmon(8)"])
    return page.text()


def _kind(value: Default) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "number"
    return "text" if isinstance(value, str) else "list of texts"


def _toml(value: Default) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    words = value if isinstance(value, tuple) else [f"{k}={v}" for k, v in value.items()]
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


if __name__ == "__main__":
    print(markdown())
