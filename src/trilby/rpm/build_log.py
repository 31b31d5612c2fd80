"""The log of a build: written while it runs, and read for the steps that it shows."""

from __future__ import annotations

import os
import re
import threading
import time
from typing import Final

from trilby.rpm.progress import Progress, Step
from trilby.rpm.tools import Inside, Tools
from trilby.system import process

__all__ = ["Recorder"]

_SECTION: Final = re.compile(
    rb"^Executing\((%(?:prep|generate_buildrequires|build|install|check))\): "
)
_READ: Final = 1 << 16


class Recorder:
    """Runs commands with their output in one log file, and tells progress from what they say."""

    def __init__(self, directory: str, name: str, progress: Progress) -> None:
        self.path = os.path.join(directory, name)
        #: A line that begins so is a step's title, by its first group.
        self.titles = _SECTION
        self._progress = progress
        self._began = time.monotonic()
        self._file = open(self.path, "wb")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def seconds(self) -> float:
        """Since the task began."""
        return time.monotonic() - self._began

    def step(self, title: str, detail: str = "") -> None:
        self._progress(Step(title, detail, self.seconds()))

    def text(self) -> str:
        """All that was logged so far."""
        self._file.flush()
        with open(self.path, "rb") as file:
            return file.read().decode(errors="replace")

    def run(self, tools: Tools, command: list[str], inside: Inside) -> int:
        """Run a command to its end; its exit status. Raises as Tools.run() without ``check``."""
        self._file.write(("$ " + process.replay_command(command, inside.env) + "\n").encode())
        reading, writing = os.pipe()
        reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        reader.start()
        try:
            done = tools.run(command, inside, stdout=writing, stderr=process.STDOUT, check=False)
        finally:
            os.close(writing)
            # A process that the build left behind may hold the pipe; it is not waited for.
            reader.join(timeout=5)
        self._file.flush()
        return done.returncode

    def _read(self, fd: int) -> None:
        rest = b""
        with os.fdopen(fd, "rb", buffering=0) as stream:
            while chunk := stream.read(_READ):
                self._file.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if match := self.titles.match(line):
                        self.step(match[1].decode(errors="replace"))
