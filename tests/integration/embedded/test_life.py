"""A pod's life: init containers, sidecars, restarts, probes, hooks, deadlines and its end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.support.embedded import Stage

from trilby.pods.embedded.errors import PodRunning
from trilby.pods.embedded.events import Exited, Notice, Started
from trilby.pods.embedded.operations import remove_pod, stop_pod
from trilby.pods.embedded.runner import PodFailed
from trilby.pods.embedded.worker import Backoff


def ignore(event: object) -> None:
    """Nobody listens."""


async def test_init_containers_run_in_order_and_share_a_volume(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: Never
        volumes: [{name: v, emptyDir: {}}]
        initContainers:
        - {name: one, image: busybox, imagePullPolicy: Never, command: [sh, -c, "echo 1 >> /v/f"],
           volumeMounts: [{name: v, mountPath: /v}]}
        - {name: two, image: busybox, imagePullPolicy: Never, command: [sh, -c, "echo 2 >> /v/f"],
           volumeMounts: [{name: v, mountPath: /v}]}
        containers:
        - {name: main, image: busybox, imagePullPolicy: Never, command: [cat, /v/f],
           volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}
        """)
    assert good and pod.order() == ["one", "two", "main"]
    assert pod.output("main") == "1\n2\n"
    assert pod.view().phase == "Succeeded" and pod.view().runner == 0


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: Never
        initContainers: [{name: bad, image: busybox, imagePullPolicy: Never, command: ["false"]}]
        containers: [{name: main, image: busybox, imagePullPolicy: Never}]
        """)
    assert not good and pod.order() == ["bad"]
    assert "init container bad exited with 1" in pod.notices()


async def test_on_failure_tries_again_until_it_succeeds(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: OnFailure
        volumes: [{name: v, emptyDir: {}}]
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "echo x >> /v/f; [ $(wc -l < /v/f) -ge 3 ]"]
          volumeMounts: [{name: v, mountPath: /v}]
        """)
    assert good and pod.exits("main") == [1, 1, 0]
    assert pod.view().restarts() == 2
    assert len(stage.engine.list_containers()) == 2, "of ended tries the last two are kept"


async def test_the_first_restart_does_not_wait(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Always
        containers:
        - {name: main, image: busybox, imagePullPolicy: Never, command: ["false"]}
        """)
    pod.runner.backoff = Backoff(initial=30, longest=300)
    pod.start()
    await pod.until(Exited, "main", 2)
    await pod.until(Notice, "main")
    assert pod.notices("main") == "restarting in 30 s"
    await pod.stop()
    assert pod.exits("main") == [1, 1]


async def test_a_command_that_does_not_exist(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: Never
        containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [nothing]}]
        """)
    assert not good and pod.exits("main") == [128]
    assert "nothing" in pod.notices("main")
    assert pod.view().container("main").reason == "StartError"


async def test_liveness_kills_and_the_policy_restarts(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Always
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "trap 'exit 7' TERM; touch /tmp/ok; sleep 1; rm /tmp/ok; sleep 99 & wait"]
          livenessProbe: {exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1, failureThreshold: 1}
        """)
    pod.start()
    await pod.until(Started, "main", 2)
    assert "liveness probe failed" in pod.notices("main")
    assert pod.exits("main")[0] == 7
    await pod.stop()


async def test_readiness_by_http_and_by_tcp(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Never
        volumes: [{name: v, emptyDir: {}}]
        containers:
        - name: web
          image: busybox
          imagePullPolicy: Never
          command: [httpd, -f, -p, "8080", -h, /v]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {port: http, path: /page}, periodSeconds: 1}
          volumeMounts: [{name: v, mountPath: /v}]
        - name: side
          image: busybox
          imagePullPolicy: Never
          command: [sleep, "99"]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        """)
    pod.start()
    await pod.until_ready(1)
    web = pod.view().container("web").id
    await stage.engine.exec_sync(web, ["sh", "-c", "echo hello > /v/page"])
    await pod.until_ready(2)
    await pod.stop()


async def test_startup_probe_holds_the_others_back(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Never
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "sleep 99"]
          startupProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 2}
          livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1}
        """)
    pod.start()
    await pod.until(Exited, "main")
    said = pod.notices("main")
    assert "startup probe failed (2/2)" in said and "liveness" not in said


async def test_hooks(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Never
        volumes: [{name: v, emptyDir: {}}]
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "trap 'cat /v/f; exit 0' TERM; while :; do sleep 0.05; done"]
          volumeMounts: [{name: v, mountPath: /v}]
          lifecycle:
            postStart: {exec: {command: [sh, -c, "echo started >> /v/f"]}}
            preStop: {exec: {command: [sh, -c, "echo stopping >> /v/f"]}}
        """)
    pod.start()
    await pod.until_ready(1)
    await pod.stop()
    assert pod.output("main") == "started\nstopping\n"


async def test_a_failed_post_start_hook_stops_the_container(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: Never
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "trap 'exit 9' TERM; while :; do sleep 0.05; done"]
          lifecycle: {postStart: {exec: {command: [sh, -c, "sleep 0.2; false"]}}}
        """)
    assert not good and pod.exits("main") == [9]
    assert "postStart hook failed: sh exited with 1" in pod.notices("main")


async def test_a_sidecar_starts_first_and_ends_last(stage: Stage) -> None:
    good, pod = await stage.run("""
        restartPolicy: Never
        initContainers:
        - {name: proxy, image: busybox, imagePullPolicy: Never, restartPolicy: Always,
           command: [sh, -c, "trap 'echo bye; exit 0' TERM; touch /tmp/up; while :; do sleep 0.05; done"],
           startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}}
        containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "0.2"]}]
        """)
    assert good and pod.order() == ["proxy", "main"]
    assert pod.order(Exited) == ["main", "proxy"]
    assert pod.output("proxy") == "bye\n"


async def test_the_deadline(stage: Stage) -> None:
    good, pod = await stage.run("""
        activeDeadlineSeconds: 1
        restartPolicy: Never
        containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "99"]}]
        """)
    assert not good and "activeDeadlineSeconds" in pod.notices()


def wait_for_command(pid: int, name: str) -> None:
    """Until the process is that program: before, it is the runtime, which a signal ends."""
    deadline = time.monotonic() + 20
    while (there := Path(f"/proc/{pid}/comm").read_text().strip()) != name:
        assert time.monotonic() < deadline, there
        time.sleep(0.01)


async def test_who_ignores_the_signal_is_killed_after_the_grace_period(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Always
        containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "99"]}]
        """)
    pod.start()
    await pod.until(Started, "main")
    await asyncio.to_thread(wait_for_command, pod.view().container("main").pid, "sleep")
    begun = time.monotonic()
    await pod.stop()
    assert 1.5 < time.monotonic() - begun < 10
    assert pod.view().container("main").exit_code == 137


async def test_cancelled_while_an_init_container_runs(stage: Stage) -> None:
    pod = stage.pod("""
        initContainers: [{name: slow, image: busybox, imagePullPolicy: Never, command: [sh, -c, "sleep 99 & wait"]}]
        containers: [{name: main, image: busybox, imagePullPolicy: Never}]
        """)
    pod.start()
    await pod.until(Started, "slow")
    await pod.stop()
    assert pod.order() == ["slow"]
    assert not pod.view().running


async def test_a_detached_pod_is_stopped_and_removed_by_another(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Always
        containers:
        - name: main
          image: busybox
          imagePullPolicy: Never
          command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
          lifecycle: {preStop: {exec: {command: [sh, -c, "echo stopping > /proc/1/fd/1"]}}}
        """)
    await pod.runner.launch()
    view = pod.view()
    assert view.runner == 0 and view.phase == "Running" and view.ready() == (1, 1)
    with pytest.raises(PodRunning):
        await remove_pod(stage.engine, pod.folder, view, force=False, grace=1, emit=ignore)
    await stop_pod(stage.engine, pod.folder, view, None, ignore)
    assert pod.output("main") == "stopping\n"
    assert pod.view().phase == "Succeeded" and not pod.view().running
    await remove_pod(stage.engine, pod.folder, pod.view(), force=False, grace=1, emit=ignore)
    assert stage.engine.list_sandboxes() == []


async def test_a_detached_pod_whose_init_fails_leaves_nothing(stage: Stage) -> None:
    pod = stage.pod("""
        restartPolicy: Never
        initContainers: [{name: bad, image: busybox, imagePullPolicy: Never, command: ["false"]}]
        containers: [{name: main, image: busybox, imagePullPolicy: Never}]
        """)
    with pytest.raises(PodFailed):
        await pod.runner.launch()
    assert stage.engine.list_sandboxes() == []


async def test_only_one_runner_at_a_time(stage: Stage) -> None:
    pod = stage.pod("""
        containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "99"]}]
        """)
    pod.start()
    await pod.until(Started, "main")
    assert pod.folder.runner() > 0
    with pytest.raises(PodRunning):
        pod.folder.claim()
    await pod.stop()
    assert pod.folder.runner() == 0
