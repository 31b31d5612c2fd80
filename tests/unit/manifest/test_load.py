"""Pod manifests: what is read, what is refused, and where each message points."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.pods.manifest.errors import InvalidManifest
from trilby.pods.manifest.load import LoadedPod, load_pod

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"))

SMALL = """\
apiVersion: v1
kind: Pod
metadata:
  name: small
spec:
  containers:
    - name: one
      image: busybox
"""


def load(text: str) -> LoadedPod:
    return load_pod(text, "pod.yaml")


def failures(text: str) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        load(text)
    return [problem.at("pod.yaml") for problem in caught.value.problems]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid_and_wholly_honoured(path: Path) -> None:
    assert load_pod(path.read_text(), str(path)).warnings == ()


def test_defaults_are_those_of_the_api() -> None:
    spec = load(SMALL).pod.spec
    assert (spec.restart_policy, spec.termination_grace_period_seconds) == ("Always", 30)
    assert spec.dns_policy == "ClusterFirst" and not spec.host_network


def test_json_is_read_as_well() -> None:
    text = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j"},"spec":{"containers":[]}}'
    assert failures(text) == ["pod.yaml:1:65: spec.containers: at least one container is required"]


def test_an_explicit_null_is_the_default() -> None:
    pod = load(SMALL + "      env: null\n      command:\n").pod
    assert pod.spec.containers[0].env == [] and pod.spec.containers[0].command == []


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("      commando: [a]\n", "9:7: spec.containers[0].commando: unknown field; did you mean command?"),
        ("      Image: x\n", "9:7: spec.containers[0].Image: unknown field; did you mean image?"),
        ("      args: yes\n", "9:7: spec.containers[0].args: expected `array`, got `bool`"),
        ("      tty: 1\n", "9:7: spec.containers[0].tty: expected `bool`, got `int`"),
        (
            "      imagePullPolicy: Often\n",
            "9:7: spec.containers[0].imagePullPolicy: 'Often' is not one of Always, IfNotPresent, Never",
        ),
        (
            "      volumeMounts: [{name: v, mountPath: /v}]\n",
            "9:23: spec.containers[0].volumeMounts[0].name: no volume 'v' in spec.volumes (there: none)",
        ),
        (
            "      resources: {limits: {memory: 64MB}}\n",
            "9:28: spec.containers[0].resources.limits.memory: '64MB' has the unknown suffix 'MB'",
        ),
        (
            "      resources: {limits: {cpu: 1}, requests: {cpu: 1500m}}\n",
            "9:48: spec.containers[0].resources.requests.cpu: is more than the limit",
        ),
        (
            "      livenessProbe: {periodSeconds: 2}\n",
            "9:7: spec.containers[0].livenessProbe: needs exactly one action",
        ),
        (
            "      livenessProbe: {httpGet: {port: web}}\n",
            "9:33: spec.containers[0].livenessProbe.httpGet.port: the container has no port named 'web'",
        ),
        (
            "      env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n",
            "9:35: spec.containers[0].env[0].valueFrom.secretKeyRef: is not supported",
        ),
        ("  restartPolicy: Sometimes\n", "9:3: spec.restartPolicy: 'Sometimes' is not one of"),
        ("  volumes: [{name: v}]\n", "9:13: spec.volumes[0]: needs exactly one of emptyDir"),
        ("  volumes: [{name: v, secret: {secretName: s}}]\n", "9:23: spec.volumes[0].secret: is not supp"),
        ("    - {name: one, image: b}\n", "9:8: spec.containers[1].name: 'one' is also spec.containers[0]"),
        ("   x: 1\n", "9:"),
        ("      image: other\n", "9:7: spec.containers[0].image: is given twice"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_line_and_field(added: str, message: str) -> None:
    found = failures(SMALL + added)
    assert any(line.startswith("pod.yaml:" + message) for line in found), found


def test_every_mistake_is_reported_in_one_go() -> None:
    text = SMALL.replace("image: busybox", "imagePullPolicy: X").replace("small", "Small")
    assert [line.split(": ")[1] for line in failures(text)] == [
        "metadata.name",
        "spec.containers[0].image",
        "spec.containers[0].imagePullPolicy",
    ]


def test_what_is_not_honoured_is_a_warning_with_its_line() -> None:
    found = load(SMALL + "  nodeSelector: {disk: ssd}\n  schedulerName: x\n").warnings
    assert [problem.at("f") for problem in found] == [
        "f:9:3: spec.nodeSelector: is not honoured by the embedded engine",
        "f:10:3: spec.schedulerName: has no meaning without an API server and is ignored",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- 1\n", "1:1: a mapping with kind: Pod was expected"),
        ("kind: Deployment\n", "1:1: kind: kind 'Deployment' cannot be run; only Pod can"),
        (SMALL.replace("v1", "v2"), "1:1: apiVersion: must be v1, not 'v2'"),
        (SMALL + "---\n" + SMALL, "10:1: a second document; one Pod a file is run"),
        ("a: &x [1]\nb: *x\n", "1:4: b: YAML aliases are not allowed here"),
        ("a: [\n", "2:1: not YAML"),
        ("a: \x01\n", "not YAML"),
        ("[" * 100, "not YAML"),
        ("a: " + "x" * (1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_what_is_no_pod_is_refused(text: str, message: str) -> None:
    assert message in failures(text)[0]


@given(st.text(max_size=200))
def test_any_text_is_a_pod_or_a_clear_refusal(text: str) -> None:
    with pytest.raises(InvalidManifest):
        load(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["name", "image", "env", "containers", "ports", "resources", "volumes"]), inner, max_size=4)
)))  # fmt: skip
def test_any_json_as_spec_is_a_pod_or_a_clear_refusal(spec: object) -> None:
    import json

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    try:
        load(json.dumps(pod))
    except InvalidManifest as error:
        assert error.problems
