"""Checks of the kubelet: its configuration, version, certificates and service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trilby.node.checks.certificates import dates, key_rights
from trilby.node.checks.programs import version_in
from trilby.node.kubelet_config import KUBELET_CONFIG, command_line
from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst
from trilby.node.processes import find, unit

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS", "kubelet_path"]

GROUP: Final = "kubelet"
SERVICE: Final = "kubelet.service"
#: The first with the CRI v1 alone, and the first whose newer fields are all served.
OLDEST: Final = (1, 26)
GOOD: Final = (1, 31)
#: The last release that this version was tried with.
NEWEST: Final = (1, 36)
PKI: Final = "/var/lib/kubelet/pki"
CLIENT: Final = f"{PKI}/kubelet-client-current.pem"
SERVING: Final = (f"{PKI}/kubelet-server-current.pem", f"{PKI}/kubelet.crt")
OTHERS: Final = (
    ("crio.service", "/run/crio/crio.sock"),
    ("containerd.service", "/run/containerd/containerd.sock"),
    ("docker.service", "/run/cri-dockerd.sock"),
)


def _none(node: Node) -> Seen:
    return skipped(node.kubelet_problem or "there is no KubeletConfiguration")


def _configuration(node: Node) -> Seen:
    kubelet = node.kubelet
    if kubelet is not None:
        return passed(*(f"{section.path} read" for section in kubelet.sections))
    if node.kubelet_problem:
        return failed(node.kubelet_problem)
    service = unit(node.host, SERVICE)
    if service.active or service.enabled:
        return warned(f"{KUBELET_CONFIG} is not there, and {SERVICE} is enabled or runs")
    return skipped(f"{KUBELET_CONFIG} is not there")


def _endpoint(node: Node) -> Seen:
    listen = node.settings.listen
    flag = command_line(node.host).get("container-runtime-endpoint", "")
    if flag:
        place = "kubelet's command line: --container-runtime-endpoint"
        endpoint = flag
    elif node.kubelet is None:
        return _none(node)
    else:
        endpoint = node.kubelet.string("containerRuntimeEndpoint")
        place = f"{node.kubelet.where('containerRuntimeEndpoint')}: containerRuntimeEndpoint"
    ours = f"{node.settings.place('trilby.api.listen')}: listen is {listen}"
    mend = f"set containerRuntimeEndpoint: unix://{listen}"
    if not endpoint:
        return failed(f"{place} is not set", ours, mend=mend)
    if endpoint.removeprefix("unix://") != listen:
        return failed(f"{place} is {endpoint}", ours, mend=mend)
    return passed(f"{place} is {endpoint}")


def kubelet_path(node: Node) -> str:
    """The program of the installed kubelet, else of the running one; "" without any."""
    path = node.host.which("kubelet")
    if path:
        return path
    running = find(node.host, "kubelet")
    return running[0].argv[0] if running and running[0].argv[0].startswith("/") else ""


def _version(node: Node) -> Seen:
    path = kubelet_path(node)
    if not path:
        return skipped("the kubelet is not installed")
    if not node.host.live:
        return skipped("programs of a host that does not run are not started")
    said = node.host.run(path, "--version")
    version = version_in(said.line)
    if said.problem or not version:
        return failed(f"{path} --version: {said.problem or said.line}")
    seen = f"{path}: {said.line}"
    if version < OLDEST:
        return failed(f"{seen}; {_dotted(OLDEST)} is the oldest that speaks the CRI v1 alone")
    if version < GOOD:
        return warned(f"{seen}; from {_dotted(GOOD)} on all features are used")
    if version[:2] > NEWEST:
        return warned(f"{seen}; newer than {_dotted(NEWEST)}, this version was not tried with it",
                      mend="dnf upgrade trilby")  # fmt: skip
    return passed(seen)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _log_rotation(node: Node) -> Seen:
    size = node.engine.log_size_max
    place = f"{node.settings.place('trilby.runtime.log_size_max')}: log_size_max is {size}"
    if size <= 0:
        return passed(place)
    return warned(place, "the kubelet rotates logs too")


def _client(node: Node) -> Seen:
    if not node.host.exists(CLIENT):
        return skipped(f"{CLIENT} is not there: the kubelet is not in a cluster")
    return dates(node, CLIENT, "systemctl restart kubelet, and kubectl get csr")


def _serving(node: Node) -> Seen:
    named = node.kubelet.string("tlsCertFile") if node.kubelet else ""
    path = named or next((each for each in SERVING if node.host.exists(each)), "")
    if not path:
        return skipped(f"none of {', '.join(SERVING)} is there yet")
    return dates(node, path, f"rm {path} && systemctl restart kubelet")


def _authority(node: Node) -> Seen:
    section = next(
        (
            each
            for each in (node.kubelet.sections if node.kubelet else ())
            if "authentication" in each
        ),
        None,
    )
    x509 = section.section("authentication") if section else None
    x509 = x509.section("x509") if x509 else None
    path = x509.string("clientCAFile") if x509 else ""
    if not path:
        return skipped("no clientCAFile is configured")
    return dates(node, path, "kubeadm join, or copy the CA of the cluster")


def _keys(node: Node) -> Seen:
    named = node.kubelet.string("tlsPrivateKeyFile") if node.kubelet else ""
    paths = [named] if named else [CLIENT, f"{PKI}/kubelet.key"]
    return worst(
        [key_rights(node, path) for path in paths if node.host.exists(path)],
        skipped("there is no key yet"),
    )


def _service(node: Node) -> Seen:
    found = unit(node.host, SERVICE)
    if not found.file and not found.active:
        return skipped(f"{SERVICE} is not installed")
    if not found.enabled:
        return warned(f"{found.file or SERVICE} is not enabled")
    if node.host.live and not found.active:
        return warned(
            f"{found.enabled}: enabled, but it does not run", mend="systemctl start kubelet"
        )
    return passed(f"{found.enabled}: enabled")


def _others(node: Node) -> Seen:
    """Two runtimes on one node remove each other's images and addresses."""
    seen = []
    for name, socket in OTHERS:
        found = unit(node.host, name)
        if found.active:
            seen.append(f"{name} runs, with {socket}")
        elif found.enabled:
            seen.append(f"{found.enabled}: it is enabled")
    names = [line.split(".service")[0].rpartition("/")[2] for line in seen]
    if not seen:
        return passed(f"none of {', '.join(name for name, _ in OTHERS)} is enabled or runs")
    return warned(*seen, mend=f"systemctl disable --now {' '.join(names)}")


def _static_pods(node: Node) -> Seen:
    if node.kubelet is None:
        return _none(node)
    path = node.kubelet.string("staticPodPath")
    if not path:
        return skipped("no staticPodPath is configured")
    told = node.kubelet.told("staticPodPath", path)
    if not node.host.is_directory(path):
        return failed(told, f"{path} is no directory", mend=f"mkdir -p {path}")
    found = node.host.stat(path)
    if found and found.st_mode & 0o022:
        return failed(told, f"others may write to {path}", mend=f"chmod 755 {path}")
    return passed(told)


def _subids(node: Node) -> Seen:
    """Ids for pods with user namespaces, where the kubelet is not to take the usual ones."""
    seen = []
    for path in ("/etc/subuid", "/etc/subgid"):
        for number, line in node.host.lines(path):
            name, _, rest = line.partition(":")
            if name == "kubelet":
                first, _, count = rest.partition(":")
                right = all(int(each) > 0 == int(each) % 65536 for each in (first, count))
                text = f"{path}:{number}: {line}"
                seen.append(passed(text) if right else failed(text))
    if seen and not node.host.which("getsubids"):
        return warned("getsubids is not installed, and /etc/subuid has a line for kubelet",
                      mend="dnf install shadow-utils-subid")  # fmt: skip
    if len(seen) == 1:
        return failed(*seen[0].evidence, "/etc/subuid and /etc/subgid do not both have kubelet")
    return worst(seen, skipped("neither /etc/subuid nor /etc/subgid has a line for kubelet"))


def _healthz(node: Node) -> Seen:
    if not node.host.live or not find(node.host, "kubelet"):
        return skipped("no kubelet runs")
    try:
        with node.host.dial("127.0.0.1", 10248, 2.0) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = connection.recv(4096).decode(errors="replace")
    except OSError as error:
        return failed(f"http://127.0.0.1:10248/healthz: {error}")
    status = answer.partition("\r\n")[0]
    seen = f"http://127.0.0.1:10248/healthz: {status}"
    return passed(seen) if " 200 " in f"{status} " else failed(seen)


CHECKS: Final = (
    Check(
        id="kubelet-configuration", group=GROUP, title="KubeletConfiguration", look=_configuration,
        why="a kubelet does not start with a file that it does not understand",
        mend="kubeadm init phase kubelet-start, or write the file",
    ),
    Check(
        id="kubelet-endpoint", group=GROUP, title="Endpoint of the runtime", look=_endpoint,
        why="the kubelet talks to another runtime, or to none",
    ),
    Check(
        id="kubelet-version", group=GROUP, title="Version of the kubelet", look=_version, slow=True,
        why="kubelet and runtime have to speak the same CRI", mend="dnf upgrade 'kubernetes*'",
    ),
    Check(
        id="kubelet-healthz", group=GROUP, title="Kubelet answers", look=_healthz, slow=True,
        why="a kubelet that is not well starts no pods", mend="journalctl -u kubelet -n 50",
    ),
    Check(
        id="kubelet-subids", group=GROUP, title="Ids of pods with user namespaces", look=_subids,
        why="the kubelet does not start with ids that are no multiples of 65536",
        mend="usermod --add-subuids 65536-7274495 --add-subgids 65536-7274495 kubelet",
    ),
    Check(
        id="kubelet-log-rotation", group=GROUP, title="Rotation of logs", look=_log_rotation,
        why="conmon begins a log anew without keeping the old one, before the kubelet rotates",
        mend="take log_size_max out of trilby.conf",
    ),
    Check(
        id="kubelet-static-pods", group=GROUP, title="Static pods", look=_static_pods,
        why="who can write there runs what they want as root; without it none of them starts",
    ),
    Check(
        id="kubelet-client-certificate", group=GROUP, title="Kubelet's client certificate",
        look=_client, why="the API server does not know the node any more when it has expired",
    ),
    Check(
        id="kubelet-serving-certificate", group=GROUP, title="Kubelet's serving certificate",
        look=_serving, why="logs, exec and metrics of pods are refused when it has expired",
    ),
    Check(
        id="kubelet-client-ca", group=GROUP, title="CA of the kubelet's clients", look=_authority,
        why="the kubelet believes nobody when it is missing or has expired",
    ),
    Check(
        id="kubelet-keys", group=GROUP, title="Rights of the kubelet's keys", look=_keys,
        why="who has the key can pose as this node",
    ),
    Check(
        id="kubelet-service", group=GROUP, title="Service of the kubelet", look=_service,
        why="after the next boot the node is not there", mend="systemctl enable --now kubelet",
    ),
    Check(
        id="other-runtimes", group=GROUP, title="Other container runtimes", look=_others,
        why="two runtimes on one node share CNI networks and, some of them, the store",
    ),
)  # fmt: skip
