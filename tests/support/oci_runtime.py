"""Run containers from our configs with a real OCI runtime, without an engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from msgspec.structs import replace

from trilby.oci.image import ContainerDefaults, ImageConfig
from trilby.oci.runtime import encode_spec
from trilby.pods.model_container import ContainerConfig, ContainerSecurity, ImageSpec
from trilby.pods.model_sandbox import SandboxConfig, SandboxSecurity
from trilby.pods.spec.build import build_for
from trilby.pods.spec.inputs import BuiltSpec, SandboxPaths, SpecRequest

BUSYBOX = shutil.which("busybox")
RUNC = shutil.which("runc")
CRUN = shutil.which("crun")
APPLETS = "sh cat id grep ls mount touch mkdir stat env readlink sleep tty".split()


def config(**security: object) -> ContainerConfig:
    """A container of busybox with these members of its security context."""
    return ContainerConfig(
        name="c",
        image=ImageSpec(image="busybox"),
        security=ContainerSecurity(**security),  # type: ignore[arg-type]  # names are checked by it
    )


class BusyboxRuntime:
    """A root file system with busybox, and a runtime with a state directory of its own."""

    def __init__(self, directory: Path, program: str = "runc", *options: str) -> None:
        self.directory = directory
        self.rootfs = directory / "rootfs"
        self.runtime = [program, *options, "--root", str(directory / "runtime")]
        self.cgroup = f"trilby-spec-{os.getpid()}"
        self.number = 0
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run"):
            (self.rootfs / name).mkdir(parents=True)
        assert BUSYBOX
        shutil.copy(BUSYBOX, self.rootfs / "bin/busybox")
        for applet in APPLETS:
            (self.rootfs / "bin" / applet).symlink_to("busybox")
        passwd = "root:x:0:0::/:/bin/sh\nweb:x:1500:1600::/:/bin/sh\n"
        (self.rootfs / "etc/passwd").write_text(passwd)
        (self.rootfs / "etc/group").write_text("root:x:0:\nweb:x:1600:\nextra:x:1700:web\n")

    def request(self, container: ContainerConfig, **more: object) -> SpecRequest:
        """A request for a new container; ``more`` replaces members of it."""
        self.number += 1
        name = f"t{os.getpid()}-{self.number}"
        security = SandboxSecurity(privileged=container.security.privileged)
        given = {
            "container_id": name,
            "sandbox": SandboxConfig(name="pod", uid="u", security=security),
            "paths": SandboxPaths(id="s" * 64, hostname="trilby-test"),
            "container": container,
            "image": ImageConfig(config=ContainerDefaults(env=("FROM_IMAGE=yes",))),
            "rootfs": str(self.rootfs),
            "cgroups_path": f"/{self.cgroup}/{name}",
        }
        return SpecRequest(**{**given, **more})  # type: ignore[arg-type]  # names are checked by it

    def bundle(
        self, script: str, container: ContainerConfig, **more: object
    ) -> tuple[str, BuiltSpec]:
        """The name and config of a container that would run ``script``; its bundle is on disk."""
        request = self.request(replace(container, command=("/bin/sh", "-c", script)), **more)
        built = build_for(request)
        bundle = self.directory / request.container_id
        bundle.mkdir()
        (bundle / "config.json").write_bytes(encode_spec(built.spec))
        return request.container_id, built

    def run(self, script: str, container: ContainerConfig, **more: object) -> tuple[str, BuiltSpec]:
        """What ``script`` printed in a container, and the config that it had."""
        name, built = self.bundle(script, container, **more)
        return self.call("run", "--bundle", str(self.directory / name), name), built

    def call(self, *words: str, stdin: bytes | None = None) -> str:
        """A command of the runtime; it has to succeed."""
        done = subprocess.run(
            [*self.runtime, *words],
            capture_output=True,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            timeout=60,
        )
        said = (done.stderr + done.stdout).decode(errors="replace")
        assert done.returncode == 0, f"{words}: {said}"
        return done.stdout.decode()

    def start(self, container: ContainerConfig, **more: object) -> tuple[str, BuiltSpec]:
        """A container in the background that sleeps; for exec and update. Its output is lost."""
        name, built = self.bundle("sleep 60", container, **more)
        subprocess.run(
            [*self.runtime, "run", "--detach", "--bundle", str(self.directory / name), name],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        return name, built

    def remove_cgroups(self) -> None:
        """What the runtime leaves of the parents that it made."""
        for top in Path("/sys/fs/cgroup").glob(f"*/{self.cgroup}"):
            for below in top.iterdir():
                if below.is_dir():
                    below.rmdir()
            top.rmdir()
