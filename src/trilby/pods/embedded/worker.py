"""One container of a pod over all its tries: create, start, hooks, probes, exit, restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import msgspec

from trilby.errors import TrilbyError
from trilby.pods.embedded.api import PodEngine
from trilby.pods.embedded.checks import Target, perform
from trilby.pods.embedded.errors import ContainerRefused
from trilby.pods.embedded.events import Emit, Exited, Notice, Started
from trilby.pods.embedded.folder import ContainerNote, PodFolder
from trilby.pods.embedded.probes import watch
from trilby.pods.embedded.termination import stop_container
from trilby.pods.embedded.volumes import PodVolumes
from trilby.pods.errors import StartFailed
from trilby.pods.manifest import schema
from trilby.pods.manifest.translate import PodFacts, container_config, environment
from trilby.pods.model_container import Mount

log = logging.getLogger(__name__)

MESSAGE_LIMIT = 4096


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds before the second and later restarts in a row: doubled each time.

    The first one is made at once, as the kubelet makes it; a long run counts as no failure.
    """

    initial: float = 10.0
    longest: float = 300.0
    forgotten_after: float = 600.0


class PodContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all containers of one running pod share. ``images``: name in the manifest -> id."""

    engine: PodEngine
    pod: schema.Pod
    folder: PodFolder
    volumes: PodVolumes
    sandbox_id: str
    facts: PodFacts
    images: dict[str, str]
    image_users: dict[str, str]
    extra_mounts: tuple[Mount, ...]
    emit: Emit
    changed: Callable[[], None]
    backoff: Backoff = Backoff()

    @property
    def address(self) -> str:
        """Where the pod's ports are."""
        return self.facts.ips[0] if self.facts.ips else "127.0.0.1"

    @property
    def grace(self) -> float:
        return float(self.pod.spec.termination_grace_period_seconds)


class Worker:
    """Runs one container until it needs no further try, or :meth:`stop` was called."""

    def __init__(self, context: PodContext, container: schema.Container, policy: str) -> None:
        self.context = context
        self.container = container
        self.policy = policy
        self.container_id = ""
        self.attempt = 0
        self._previous = ""
        self._stopped = asyncio.Event()
        self._grace = 0.0
        #: Set when the startup probe has succeeded; a sidecar lets the next container start then.
        self.started = asyncio.Event()
        self.note = ContainerNote(waiting="ContainerCreating")

    async def run(self) -> int:
        """The exit code of the last try."""
        backoff = self.context.backoff
        delay = 0.0
        while True:
            begun = monotonic()
            code = await self.run_once()
            if monotonic() - begun > backoff.forgotten_after:
                delay = 0.0
            if self.stopping or not self._again(code):
                return code
            if delay:
                self._emit(f"restarting in {delay:g} s")
                self._note(waiting="CrashLoopBackOff")
                if await self._stopped_within(delay):
                    return code
            delay = min(delay * 2, backoff.longest) or backoff.initial
            self.attempt += 1
            self._note(restarts=self.attempt)
            if self.container_id:
                if self._previous:
                    await self._forget(self._previous)
                self._previous = self.container_id

    async def start(self) -> None:
        """Create and start one try and run its postStart hook.

        Raises:
            TrilbyError: the container cannot be created or started.
        """
        context = self.context
        self.container_id = ""
        variables = environment(context.pod, self.container, context.facts)
        mounts = await asyncio.to_thread(
            context.volumes.mounts, self.container, self.attempt, variables
        )
        self._refuse_root()
        config = container_config(
            context.pod,
            self.container,
            context.facts,
            attempt=self.attempt,
            image_id=context.images[self.container.image],
            mounts=[*context.extra_mounts, *mounts],
        )
        self.container_id = await context.engine.create_container(context.sandbox_id, config)
        await context.engine.start_container(self.container_id)
        if self.stopping:  # was asked for while there was nothing to stop
            await stop_container(self.target(), self._grace, context.emit)
        self._note(waiting="")
        context.emit(Started(self.container.name, self.container_id, self.attempt))
        await self._post_start()

    async def run_once(self) -> int:
        """One try, from its creation to its exit."""
        try:
            await self.start()
        except StartFailed as error:
            self._emit(f"failed to start: {error.message}")
        except TrilbyError as error:
            self._emit(f"cannot be created: {error}")
            self._note(waiting="CreateContainerError")
            return 128
        prober = asyncio.ensure_future(self._probe())
        try:
            code = await self.context.engine.wait_container(self.container_id)
        finally:
            prober.cancel()
            await asyncio.gather(prober, return_exceptions=True)
        self._note(ready=False)
        await self._tell_exit(code)
        return code

    async def stop(self, grace: float) -> None:
        """Let the running try end, and start no further one."""
        self._grace = grace
        self._stopped.set()
        if self.container_id:
            await stop_container(self.target(), grace, self.context.emit)

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def target(self) -> Target:
        context = self.context
        return Target(context.engine, self.container, self.container_id, context.address)

    def _again(self, code: int) -> bool:
        return self.policy == "Always" or (self.policy == "OnFailure" and code != 0)

    async def _stopped_within(self, seconds: float) -> bool:
        """Wait before a restart; True at once when the container is to be stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass
        return self.stopping

    async def _post_start(self) -> None:
        lifecycle = self.container.lifecycle
        if lifecycle is None or lifecycle.post_start is None:
            return
        failure = await perform(self.target(), lifecycle.post_start, 3600)
        if failure and not self.stopping:
            self._emit(f"postStart hook failed: {failure}; the container is stopped")
            await stop_container(self.target(), self.context.grace, self.context.emit)

    async def _probe(self) -> None:
        why = await watch(
            self.target(),
            self.container,
            started=self.started.set,
            ready=lambda ready: self._note(ready=ready),
            report=self._emit,
        )
        probe = self.container.liveness_probe
        grace = probe.termination_grace_period_seconds if probe is not None else None
        self._emit(f"{why}; the container is stopped")
        await stop_container(
            self.target(), self.context.grace if grace is None else grace, self.context.emit
        )

    def _refuse_root(self) -> None:
        """Kubernetes' runAsNonRoot, checked against the manifest and the image."""
        pod, own = self.context.pod.spec.security_context, self.container.security_context
        required = pod.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
        user = pod.run_as_user if own.run_as_user is None else own.run_as_user
        if not required:
            return
        name = str(user) if user is not None else self._image_user()
        if name in ("", "root") or (name.isdigit() and int(name) == 0):
            raise ContainerRefused(
                f"container {self.container.name} has runAsNonRoot and would run as root",
                hint="set securityContext.runAsUser, or USER in the image",
            )
        if not name.isdigit():
            raise ContainerRefused(
                f"container {self.container.name} has runAsNonRoot, and the image's user {name!r}"
                " is a name that may be root",
                hint="set securityContext.runAsUser to its number",
            )

    def _image_user(self) -> str:
        return self.context.image_users.get(self.container.image, "").partition(":")[0]

    async def _tell_exit(self, code: int) -> None:
        context = self.context
        reason = ""
        try:
            reason = (await context.engine.read_container(self.container_id)).reason
        except TrilbyError as error:
            log.debug("status of %s: %s", self.container_id, error)
        message = self._termination_message()
        context.emit(Exited(self.container.name, self.container_id, code, reason, message))

    def _termination_message(self) -> str:
        path = self.context.folder.termination_log(self.container.name, self.attempt)
        try:
            with open(path, "rb") as file:
                return file.read(MESSAGE_LIMIT).decode(errors="replace").strip()
        except OSError:
            return ""

    async def _forget(self, container_id: str) -> None:
        """Of ended tries only the last one is kept, for its log and its status."""
        try:
            await self.context.engine.remove_container(container_id)
        except TrilbyError as error:
            log.warning("removing an ended try of %s: %s", self.container.name, error)

    def _emit(self, text: str) -> None:
        self.context.emit(Notice(self.container.name, text))

    def _note(
        self, *, ready: bool | None = None, restarts: int | None = None, waiting: str | None = None
    ) -> None:
        old = self.note
        self.note = ContainerNote(
            ready=old.ready if ready is None else ready,
            restarts=old.restarts if restarts is None else restarts,
            waiting=old.waiting if waiting is None else waiting,
        )
        if self.note != old:
            self.context.changed()
