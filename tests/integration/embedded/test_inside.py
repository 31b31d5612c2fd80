"""What containers of a manifest find: volumes, variables, hosts, users, messages."""

from __future__ import annotations

import os

import pytest
from tests.support.embedded import Stage

from trilby.errors import NotFound
from trilby.pods.embedded.errors import VolumeFailed
from trilby.pods.embedded.events import Exited


async def output(stage: Stage, script: str, container: str = "", pod: str = "") -> str:
    """What a shell script prints in a container of a pod with these further fields."""
    spec = f"""
restartPolicy: Never
{pod}
containers:
- name: main
  image: busybox
  imagePullPolicy: Never
  command: [sh, -c, {script!r}]
{container}
"""
    good, running = await stage.run(spec)
    assert good, (running.events, running.output("main"))
    return running.output("main")


async def test_variables(stage: Stage) -> None:
    said = await output(
        stage,
        'echo "$A $B $NAME $LABEL $LIMIT"; [ "$IP" = "$(hostname -i)" ] && echo same',
        """
  env:
  - {name: A, value: a}
  - {name: B, value: "$(A)b $$(A) $(NONE)"}
  - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  resources: {limits: {memory: 32Mi}}
""",
    )
    assert said.splitlines()[0] == "a ab $(A) $(NONE) test web 32"


async def test_memory_volume_has_its_size(stage: Stage) -> None:
    said = await output(
        stage,
        "grep ' /m ' /proc/mounts; dd if=/dev/zero of=/m/f bs=64k count=32 2>/dev/null || wc -c < /m/f",
        "  volumeMounts: [{name: m, mountPath: /m}]",
        "volumes: [{name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]",
    )
    assert "tmpfs" in said and said.endswith("1048576\n")


async def test_group_of_volumes(stage: Stage) -> None:
    said = await output(
        stage,
        "touch /v/f; stat -c '%g %a' /v; stat -c %g /v/f; id -G",
        "  volumeMounts: [{name: v, mountPath: /v}]\n  securityContext: {runAsUser: 1000}",
        "volumes: [{name: v, emptyDir: {}}]\nsecurityContext: {fsGroup: 2345}",
    )
    volume, file, groups = said.splitlines()
    assert volume.startswith("2345 ") and file == "2345" and "2345" in groups.split()


async def test_host_paths(stage: Stage) -> None:
    folder = stage.place.root / "host"
    folder.mkdir()
    (folder / "file").write_text("from the host\n")
    good, pod = await stage.run(f"""
        restartPolicy: Never
        volumes:
        - {{name: f, hostPath: {{path: {folder}/file, type: File}}}}
        - {{name: made, hostPath: {{path: {folder}/made, type: DirectoryOrCreate}}}}
        - {{name: d, hostPath: {{path: {folder}, type: Directory}}}}
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "cat /f; ls -d /made; touch /ro/x 2>/dev/null || echo refused"]
          volumeMounts:
          - {{name: f, mountPath: /f}}
          - {{name: made, mountPath: /made}}
          - {{name: d, mountPath: /ro, readOnly: true}}
        """)
    assert good
    lines = pod.output("main").splitlines()
    assert lines == ["from the host", "/made", "refused"]
    assert (folder / "made").is_dir() and not (folder / "x").exists()


@pytest.mark.parametrize(
    ("kind", "said"), [("File", "No such file"), ("Directory", "No such file")]
)
async def test_a_host_path_that_is_not_there(stage: Stage, kind: str, said: str) -> None:
    with pytest.raises(VolumeFailed, match=said):
        await stage.run(f"""
            volumes: [{{name: f, hostPath: {{path: {stage.place.root}/none, type: {kind}}}}}]
            containers: [{{name: main, image: busybox, imagePullPolicy: Never}}]
            """)
    assert stage.engine.list_sandboxes() == []


async def test_sub_paths_stay_in_their_volume(stage: Stage) -> None:
    folder = stage.place.root / "host"
    folder.mkdir()
    (folder / "etc").mkdir()
    os.symlink("/etc", folder / "out")
    good, pod = await stage.run(f"""
        restartPolicy: Never
        volumes: [{{name: v, hostPath: {{path: {folder}}}}}]
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "touch /new/file /out/file; ls /out"]
          env: [{{name: SUB, value: deep}}]
          volumeMounts:
          - {{name: v, mountPath: /new, subPathExpr: "$(SUB)/er"}}
          - {{name: v, mountPath: /out, subPath: out}}
        """)
    assert good, pod.events
    assert pod.output("main") == "file\n"
    assert (folder / "deep/er/file").exists()
    assert (folder / "etc/file").exists(), "the link leads to etc below the volume"
    assert not os.path.exists("/etc/file")


async def test_image_volumes(stage: Stage) -> None:
    said = await output(
        stage,
        "ls /i/bin/busybox; touch /i/x 2>/dev/null || echo read-only",
        "  volumeMounts: [{name: i, mountPath: /i}]",
        "volumes: [{name: i, image: {reference: busybox, pullPolicy: Never}}]",
    )
    assert said == "/i/bin/busybox\nread-only\n"


async def test_host_aliases(stage: Stage) -> None:
    said = await output(
        stage,
        "cat /etc/hosts",
        pod="hostAliases: [{ip: 192.0.2.7, hostnames: [db, db.example.com]}]",
    )
    assert "192.0.2.7\tdb db.example.com\n" in said and "\ttest" in said


async def test_dns(stage: Stage) -> None:
    said = await output(
        stage,
        "cat /etc/resolv.conf",
        pod="dnsPolicy: None\ndnsConfig: {nameservers: [192.0.2.53], searches: [example.com], "
        "options: [{name: ndots, value: '2'}]}",
    )
    assert said.split() == "search example.com nameserver 192.0.2.53 options ndots:2".split()


async def test_termination_message(stage: Stage) -> None:
    _, pod = await stage.run("""
        restartPolicy: Never
        containers:
        - {name: main, image: busybox, imagePullPolicy: Never,
           command: [sh, -c, "echo why > /dev/termination-log; exit 3"]}
        """)
    (exited,) = [event for event in pod.events if isinstance(event, Exited)]
    assert (exited.exit_code, exited.message) == (3, "why")


async def test_root_is_refused_where_it_must_not_be(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: Never
        securityContext: {runAsNonRoot: true}
        containers: [{name: main, image: busybox, imagePullPolicy: Never}]
        """)
    assert not good and "runAsNonRoot and would run as root" in pod.notices("main")


async def test_security(stage: Stage) -> None:
    said = await output(
        stage,
        "id -u; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'; touch /x 2>/dev/null || echo ro",
        """
  securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true,
                    capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
""",
    )
    lines = said.splitlines()
    assert lines[0] == "1000" and lines[-1] == "ro"
    assert {"CapEff:0000000000000000", "NoNewPrivs:1", "Seccomp:2"} <= set(lines)


async def test_shared_processes_and_the_hosts_network(stage: Stage) -> None:
    said = await output(
        stage, "cat /proc/1/comm; ls /sys/class/net | wc -l", pod="shareProcessNamespace: true"
    )
    assert said.splitlines()[0] == "catatonit"
    good, pod = await stage.run("""
        restartPolicy: Never
        hostNetwork: true
        containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [hostname]}]
        """)
    assert good and pod.output("main").strip() == os.uname().nodename


async def test_an_image_that_is_not_there(stage: Stage) -> None:
    with pytest.raises(NotFound, match="nothing"):
        await stage.run("""
            containers: [{name: main, image: localhost/nothing, imagePullPolicy: Never}]
            """)
    assert stage.engine.list_sandboxes() == []
