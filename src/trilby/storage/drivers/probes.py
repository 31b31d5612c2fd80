"""What the kernel's overlay can do here, asked once per boot: answers are files in the run root.

The files ``<feature>-true`` and ``<feature>-false`` (content: the reason) are shared with podman
and CRI-O, so names and meanings are theirs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from trilby.storage import notes
from trilby.storage.drivers.overlaymount import OverlayPlan, mount_overlay, unmount
from trilby.storage.errors import DriverFailed
from trilby.storage.tempdirs import TempRoot


class Probes:
    """Feature questions of one store. Trial mounts are made in directories of ``temp``."""

    def __init__(
        self, temp: TempRoot, run_home: str, mount_options: Sequence[str], prefix: str
    ) -> None:
        self._temp = temp
        self._run_home = run_home
        self._options = tuple(mount_options)
        self._prefix = prefix

    def volatile(self) -> bool:
        """Whether mounts may skip all syncing."""
        return self._cached("volatile", self._try_volatile)

    def native_diff(self) -> bool:
        """Whether an upper directory by itself tells all that a container changed."""
        return self._cached(f"native-diff({','.join(self._options)})", self._try_native_diff)

    def metacopy(self) -> bool:
        """Whether mounts with our options copy up metadata alone."""
        return self._cached(f"metacopy({','.join(self._options)})", self._try_metacopy)

    def _cached(self, feature: str, attempt: Callable[[str], str]) -> bool:
        """The answer on file, or a new one; ``attempt`` gives the reason against, or ""."""
        base = os.path.join(self._run_home, feature)
        if os.path.exists(f"{base}-true"):
            return True
        if os.path.exists(f"{base}-false"):
            return False
        with self._temp.directory() as place:
            try:
                reason = attempt(place.path)
            except (OSError, DriverFailed) as error:
                reason = str(error)
            finally:
                unmount(os.path.join(place.path, "merged"))
        if reason:
            notes.debug(__name__, "overlay feature %s: %s", feature, reason)
        self._remember(f"{base}-{'false' if reason else 'true'}", reason)
        return not reason

    def _remember(self, path: str, reason: str) -> None:
        try:
            os.makedirs(self._run_home, 0o700, exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(reason)
        except OSError as error:
            # Without the file the question is asked again; nothing else is lost.
            notes.debug(__name__, "writing %s: %s", path, error)

    def _mount(self, place: str, *options: str) -> str:
        for name in ("lower", "lower2", "upper", "work", "merged"):
            os.makedirs(os.path.join(place, name), exist_ok=True)
        merged = os.path.join(place, "merged")
        mount_overlay(
            OverlayPlan(
                target=merged,
                lowers=(os.path.join(place, "lower2"), os.path.join(place, "lower")),
                upper=os.path.join(place, "upper"),
                work=os.path.join(place, "work"),
                options=(*self._options, *options),
            )
        )
        return merged

    def _try_volatile(self, place: str) -> str:
        self._mount(place, "volatile")
        return ""

    def _try_native_diff(self, place: str) -> str:
        opaque = f"{self._prefix}.overlay.opaque"
        for name in ("lower/d", "lower/e", "lower2/d"):
            os.makedirs(os.path.join(place, name))
        os.setxattr(os.path.join(place, "lower2/d"), opaque, b"y")
        with open(os.path.join(place, "lower/f"), "wb"):
            pass
        merged = self._mount(place)
        upper = os.path.join(place, "upper")
        with open(os.path.join(merged, "d/new"), "wb"):
            pass
        if opaque in os.listxattr(os.path.join(upper, "d")):
            return "the kernel copies up the opaque flag"
        try:
            os.rename(os.path.join(merged, "e"), os.path.join(merged, "renamed"))
        except OSError:
            # EXDEV: directories of lower layers cannot be renamed, so no redirect either.
            pass
        else:
            if _has(os.path.join(upper, "renamed"), f"{self._prefix}.overlay.redirect"):
                return "the kernel redirects renamed directories (redirect_dir)"
        os.chmod(os.path.join(merged, "f"), 0o600)
        if _has(os.path.join(upper, "f"), f"{self._prefix}.overlay.metacopy"):
            return "the kernel copies up metadata alone (metacopy)"
        return ""

    def _try_metacopy(self, place: str) -> str:
        os.makedirs(os.path.join(place, "lower"))
        with open(os.path.join(place, "lower/f"), "wb") as file:
            file.write(b"content")
        merged = self._mount(place)
        os.chmod(os.path.join(merged, "f"), 0o600)
        if _has(os.path.join(place, "upper/f"), f"{self._prefix}.overlay.metacopy"):
            return ""
        return "metacopy is not in use with these mount options"


def _has(path: str, attribute: str) -> bool:
    return attribute in os.listxattr(path, follow_symlinks=False)
