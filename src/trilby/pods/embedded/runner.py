"""A pod from its manifest to its end: what a kubelet does for it, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine

import msgspec

from trilby.image.progress import Progress
from trilby.pods.embedded.api import PodEngine, PodImages
from trilby.pods.embedded.events import Emit, Notice
from trilby.pods.embedded.folder import PodFolder, PodRecord, RunnerNote
from trilby.pods.embedded.preparation import (
    hosts_mount,
    image_users,
    make_sandbox,
    pull_images,
)
from trilby.pods.embedded.termination import LEAST_GRACE
from trilby.pods.embedded.volumes import PodVolumes
from trilby.pods.embedded.worker import Backoff, PodContext, Worker
from trilby.pods.manifest import schema
from trilby.system.files import Fd


class PodFailed(Exception):
    """An init container failed for good, or the deadline is over; the text says which."""


class PodRunner:
    """Runs one pod. ``await run()`` until it ends, or ``await launch()`` and leave it alone."""

    def __init__(
        self,
        engine: PodEngine,
        images: PodImages,
        record: PodRecord,
        folder: PodFolder,
        emit: Emit,
        *,
        progress: Progress | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.engine = engine
        self.images = images
        self.record = record
        self.pod = record.pod
        self.folder = folder
        self.emit = emit
        self.progress = progress
        self.backoff = backoff or Backoff()
        self.workers: dict[str, Worker] = {}
        self.sidecars: dict[str, asyncio.Task[int]] = {}
        self.phase = "Pending"
        self.reason = ""
        self.sandbox_id = ""
        self._claim: Fd | None = None
        self._context: PodContext | None = None

    async def run(self) -> bool:
        """Run the pod to its end: True if it succeeded. Cancel it to stop the pod gracefully.

        Raises:
            TrilbyError: an image, the sandbox or a volume failed; nothing is left of the pod then.
        """
        context = await self.prepare()
        try:
            async with asyncio.timeout(self.pod.spec.active_deadline_seconds):
                return await self._run_containers(context)
        except TimeoutError:
            self._fail("DeadlineExceeded", "ran longer than activeDeadlineSeconds")
            return False
        except PodFailed as failure:
            self._fail("Error", str(failure))
            return False
        finally:
            await _shielded(self._finish())

    async def launch(self) -> None:
        """Start the pod, its init containers to their end, and leave it running."""
        context = await self.prepare()
        try:
            await self._run_init_containers(context)
            for container in self.pod.spec.containers:
                await self._worker(context, container).start()
        except PodFailed as failure:
            self._fail("Error", str(failure))
            await _shielded(self.undo())
            raise
        except BaseException:
            await _shielded(self.undo())
            raise
        finally:
            for task in self.sidecars.values():
                task.cancel()
            await asyncio.gather(*self.sidecars.values(), return_exceptions=True)
            self._release()

    async def undo(self) -> None:
        """Remove all that there is of the pod."""
        if self.sandbox_id:
            await self.engine.remove_sandbox(self.sandbox_id)
        await asyncio.to_thread(self.folder.remove)

    async def prepare(self) -> PodContext:
        """Images, sandbox and volumes; called by run() and launch() unless it was before."""
        if self._context is None:
            self._context = await self._prepare()
        return self._context

    async def _prepare(self) -> PodContext:
        await asyncio.to_thread(self.folder.create, self.record)
        self._claim = self.folder.claim()
        self._write_note()
        try:
            return await self._make_context()
        except BaseException as error:
            await _shielded(self.undo())
            self._release()
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise

    async def _make_context(self) -> PodContext:
        pull = asyncio.ensure_future(pull_images(self.images, self.pod.spec, self.progress))
        try:
            self.sandbox_id, facts = await make_sandbox(
                self.engine, self.pod, self.folder, self.emit
            )
            ids = await pull
        finally:
            pull.cancel()
            await asyncio.gather(pull, return_exceptions=True)
        volumes = PodVolumes(self.folder, self.pod, ids)
        await asyncio.to_thread(volumes.prepare)
        return PodContext(
            engine=self.engine,
            pod=self.pod,
            folder=self.folder,
            volumes=volumes,
            sandbox_id=self.sandbox_id,
            facts=facts,
            images=ids,
            image_users=await asyncio.to_thread(image_users, self.images, ids),
            extra_mounts=hosts_mount(self.folder, self.pod, facts),
            emit=self.emit,
            changed=self._write_note,
            backoff=self.backoff,
        )

    async def _run_containers(self, context: PodContext) -> bool:
        await self._run_init_containers(context)
        self.phase = "Running"
        policy = self.pod.spec.restart_policy
        workers = [self._worker(context, each, policy) for each in self.pod.spec.containers]
        codes = await _gather([worker.run() for worker in workers])
        self.phase = "Succeeded" if not any(codes) else "Failed"
        return not any(codes)

    async def _run_init_containers(self, context: PodContext) -> None:
        once = "Never" if self.pod.spec.restart_policy == "Never" else "OnFailure"
        for container in self.pod.spec.init_containers:
            if container.restart_policy == "Always":
                worker = self._worker(context, container, "Always")
                task = asyncio.ensure_future(worker.run())
                self.sidecars[container.name] = task
                await _first(worker.started, task)
                continue
            code = await self._worker(context, container, once).run()
            if code != 0:
                raise PodFailed(f"init container {container.name} exited with {code}")

    def _worker(
        self, context: PodContext, container: schema.Container, policy: str = "Never"
    ) -> Worker:
        worker = Worker(context, container, policy)
        self.workers[container.name] = worker
        self._write_note()
        return worker

    async def _finish(self) -> None:
        """Stop what still runs: the containers together, then sidecars, then the sandbox."""
        grace = self.folder.requested_grace()
        if grace is None:
            grace = float(self.pod.spec.termination_grace_period_seconds)
        begun = time.monotonic()
        main = [each for name, each in self.workers.items() if name not in self.sidecars]
        await asyncio.gather(*(worker.stop(grace) for worker in main))
        for name in reversed(self.sidecars):
            left = max(grace - (time.monotonic() - begun), LEAST_GRACE) if grace > 0 else 0
            await self.workers[name].stop(left)
            with contextlib.suppress(asyncio.CancelledError):
                await self.sidecars[name]
        await self.engine.stop_sandbox(self.sandbox_id)
        self._write_note()
        self._release()

    def _fail(self, reason: str, text: str) -> None:
        self.phase, self.reason = "Failed", reason
        self.emit(Notice("", text))

    def _write_note(self) -> None:
        if self._claim is None:
            return
        self.folder.write_note(
            RunnerNote(
                phase=self.phase,
                reason=self.reason,
                containers={name: worker.note for name, worker in self.workers.items()},
            )
        )

    def _release(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()


async def _gather(work: list[Coroutine[object, object, int]]) -> list[int]:
    """All results; when one fails or this is cancelled, the others are cancelled and awaited."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first(event: asyncio.Event, task: asyncio.Future[int]) -> None:
    """Wait for the event; a task that fails before it raises what it failed of."""
    waiting = asyncio.ensure_future(_set(event))
    try:
        await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done() and not event.is_set():
        task.result()


async def _set(event: asyncio.Event) -> int:
    await event.wait()
    return 0


async def _shielded(work: Coroutine[object, object, None]) -> None:
    """Clean-up that a cancellation waits for."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def new_record(pod: schema.Pod, source: str) -> PodRecord:
    """What is kept of a manifest; a pod without a uid gets one."""
    from uuid import uuid4

    uid = pod.metadata.uid or str(uuid4())
    pod = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, uid=uid))
    return PodRecord(uid=uid, source=source, created=time.time(), pod=pod)
