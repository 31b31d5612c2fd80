"""What man pages add to the commands' own words: the files that matter, and pages to read on."""

from __future__ import annotations

from typing import Final

File = tuple[str, str]

STORE: Final[tuple[File, ...]] = (
    (
        "/var/lib/containers/storage",
        "Images and containers, shared with podman, skopeo, buildah and CRI-O.",
    ),
    ("/run/containers/storage", "What does not outlive a restart: mount counts, running pods."),
    ("/etc/containers/storage.conf", "Where the store is, and its driver's options."),
)
REGISTRY: Final[tuple[File, ...]] = (
    (
        "/etc/containers/registries.conf, /etc/containers/registries.conf.d/*.conf",
        "Short names, mirrors, blocked and insecure registries.",
    ),
    ("/etc/containers/policy.json", "Which images are accepted."),
    ("/etc/containers/registries.d/*.yaml", "Where signatures are looked up."),
    ("/etc/containers/certs.d/HOST:PORT/", "CA and client certificates of a registry."),
    ("$XDG_RUNTIME_DIR/containers/auth.json", "Credentials, as trilby-login(1) writes them."),
)
CONFIG: Final[tuple[File, ...]] = (
    (
        "/etc/trilby/trilby.conf, /etc/trilby/trilby.conf.d/*.conf",
        "Settings of the daemon and of the pod engine; see trilby.conf(5).",
    ),
    ("/usr/share/trilby/trilby.conf", "What the distribution says; read before."),
    ("/var/lib/kubelet/config.yaml", "The kubelet's configuration, which has to fit."),
)
NODE: Final[tuple[File, ...]] = (
    ("/proc, /sys, /etc, /lib/modules", "Of the host: where the evidence comes from."),
    *CONFIG,
    ("/etc/cni/net.d/*.conflist", "CNI networks, whose plugins are looked for and asked."),
)
POD: Final[tuple[File, ...]] = (
    ("/etc/trilby/trilby.conf", "Settings of the pod engine; see trilby.conf(5)."),
    ("/etc/cni/net.d/*.conflist", "CNI networks; the first one by name is used."),
    ("/usr/share/containers/seccomp.json", "The seccomp profile that RuntimeDefault means."),
    ("/var/lib/containers/storage/trilby", "Records of pods and containers, and their logs."),
    ("/run/containers/storage/trilby", "Bundles, pinned namespaces, locks and exit codes."),
)
DAEMON: Final[tuple[File, ...]] = (
    ("/run/trilby/trilby.sock", "The daemon's socket: the CRI, and pages for the commands."),
    ("/etc/trilby/trilby.conf", "Its settings; see trilby.conf(5)."),
)
PACKAGING: Final[tuple[File, ...]] = (
    ("spec/NAME.spec.in", "A project's own template of its spec."),
    ("spec/changelog", "Its changelog, the newest entry first; that gives the release."),
    ("spec/rpmlint.toml", "What rpmlint has to know of the project."),
    ("/etc/yum.repos.d/*.repo", "The repositories that fill a build root, without --repo."),
)

RELATED: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("trilby",): (
        "trilbyd(8)",
        "trilby.conf(5)",
        "podman(1)",
        "skopeo(1)",
        "containers-storage.conf(5)",
    ),
    ("trilby", "image"): ("podman-image(1)", "containers-transports(5)"),
    ("trilby", "image", "copy"): ("skopeo-copy(1)", "containers-transports(5)"),
    ("trilby", "image", "pull"): (
        "podman-pull(1)",
        "containers-registries.conf(5)",
        "containers-policy.json(5)",
        "containers-transports(5)",
    ),
    ("trilby", "image", "push"): ("podman-push(1)", "containers-transports(5)"),
    ("trilby", "config"): ("trilbyd(8)", "trilby.conf(5)", "crio.conf(5)"),
    ("trilby", "config", "check"): ("trilby.conf(5)", "crio.conf(5)", "kubelet(1)"),
    ("trilby", "node"): ("trilby.conf(5)", "kubelet(1)"),
    ("trilby", "node", "check"): ("trilby.conf(5)", "kubelet(1)", "crictl(1)", "sysctl.d(5)"),
    ("trilby", "login"): ("podman-login(1)", "containers-auth.json(5)"),
    ("trilby", "logout"): ("podman-logout(1)", "containers-auth.json(5)"),
    ("trilby", "pod"): ("trilby.conf(5)", "crun(1)", "runc(8)", "conmon(8)"),
    ("trilby", "pod", "run"): ("trilby.conf(5)", "podman-kube-play(1)"),
    ("trilby", "rpm"): ("rpmbuild(8)", "rpmsign(8)", "createrepo_c(8)", "mock(1)", "dnf5(8)"),
    ("trilby", "rpm", "build"): ("rpmbuild(8)", "mock(1)", "dnf5(8)"),
    ("trilby", "rpm", "lint"): ("rpmlint(1)",),
    ("trilby", "rpm", "sign"): ("rpmsign(8)", "gpg(1)", "sq(1)"),
    ("trilby", "status"): ("trilbyd(8)", "trilby.conf(5)", "crictl(1)"),
    ("trilby", "events"): ("trilbyd(8)", "podman-events(1)", "crictl(1)"),
}


# Statuses that differ from the table in trilby(1).
EXITS: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("trilby", "pod", "exec"): (
        "The status of the command; 128 and the number of the signal that killed it.",
        "125 if it could not be run, 126 if it cannot be invoked, 127 if it is not there.",
    ),
    ("trilby", "pod", "attach"): (
        "The status of the container; 0 after detaching.",
        "What an error means is told in trilby(1).",
    ),
    ("trilby", "node", "check"): (
        "0 if every check passed or was skipped, 1 if there are warnings, 2 if one failed, or for"
        " wrong usage.",
        "What the other numbers mean is told in trilby(1).",
    ),
    ("trilby", "status"): (
        "0 if runtime and network are ready, 1 if not, 5 if no daemon answers.",
        "What the other numbers mean is told in trilby(1).",
    ),
    ("trilby", "pod", "run"): (
        "0 if the pod succeeded, 1 if it failed; 130 or 143 if SIGINT or SIGTERM ended it.",
        "What the other numbers mean is told in trilby(1).",
    ),
}
USUAL_EXIT: Final = ("0 on success; what the other numbers mean is told in trilby(1).",)

# Of all commands; those that stand for one option are found at the option.
ENVIRONMENT: Final[tuple[tuple[str, str], ...]] = (
    ("CONTAINERS_STORAGE_CONF", "The only storage.conf to read."),
    ("CONTAINERS_STORAGE_CONF_OVERRIDE", "A storage.conf to read after all others."),
    ("STORAGE_DRIVER, STORAGE_OPTS", "As --storage-driver and --storage-opt (parted by commas)."),
    ("CONTAINERS_REGISTRIES_CONF", "The registries.conf to read."),
    ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies on the way to registries."),
)

# Whose examples stand in the page of the whole program.
SHOWN: Final = (
    ("trilby", "image", "pull"),
    ("trilby", "image", "list"),
    ("trilby", "pod", "run"),
    ("trilby", "pod", "ps"),
)


def exits_of(words: tuple[str, ...]) -> tuple[str, ...]:
    """Sentences about the exit status of a command."""
    return EXITS.get(words, USUAL_EXIT)


def files_of(words: tuple[str, ...]) -> tuple[File, ...]:
    """The files that a command reads or writes."""
    match words[1:]:
        case ():
            return (*STORE, *REGISTRY, *POD)
        case ("image", "pull" | "push" | "copy") | ("image",):
            return (*STORE, *REGISTRY)
        case ("status" | "events",) | ("pod", "trace"):
            return DAEMON
        case ("node", *_):
            return NODE
        case ("pod", *_):
            return (*POD, *STORE)
        case ("login" | "logout",):
            return REGISTRY[-1:] + REGISTRY[-2:-1]
        case ("config", *_):
            return (*CONFIG, *REGISTRY, *STORE[-1:])
        case ("rpm", *_):
            return PACKAGING
        case ("completion",):
            return (
                (
                    "/etc/bash_completion.d/trilby, /etc/bash_completion.d/trilbyd",
                    "Where bash looks.",
                ),
            )
        case _:
            return STORE


def related_of(words: tuple[str, ...]) -> tuple[str, ...]:
    """Pages of other projects, or of configuration files."""
    return RELATED.get(words, ())
