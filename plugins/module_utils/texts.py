"""Files with a given text: what would change, and the change."""

from __future__ import annotations

import json
import os
import shutil
import tempfile

__all__ = ["Texts", "same_json"]


class Texts:
    """Writes files for a module, and keeps what ``diff`` is to show."""

    def __init__(self, module):
        self.module = module
        self.diff = []
        self.paths = []

    def changed(self, path, before=None, after=None):
        """Note a change; a text of None is none."""
        self.paths.append(path)
        self.diff.append(
            {
                "before_header": path,
                "after_header": path,
                "before": "" if before is None else before,
                "after": "" if after is None else after,
            }
        )

    def write(self, path, text, mode="0644", *, secret=False, same=None, original=None):
        """Have this text there.

        ``same`` compares what a file says instead of its letters; ``original`` is where a file of
        somebody else goes that is replaced.
        """
        before = _read(path)
        if before is not None and (before == text or (same and same(before, text))):
            self.attributes(path, mode)
            return
        if secret:
            self.changed(path, None if before is None else "what it was\n", "what it is to be\n")
        else:
            self.changed(path, before, text)
        if self.module.check_mode:
            return
        self._parents(path)
        if original and before is not None and not os.path.exists(original):
            shutil.copy2(path, original)
        number, new = tempfile.mkstemp(prefix=".ansible-", dir=os.path.dirname(path))
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text.encode())
            os.chmod(new, int(mode, 8))
            self.module.atomic_move(new, path, keep_dest_attrs=False)
        finally:
            if os.path.exists(new):
                os.unlink(new)
        self.attributes(path, mode, note=False)

    def directory(self, path, mode="0755"):
        """Have a directory, and those above it."""
        if not os.path.isdir(path):
            if os.path.lexists(path):
                self.module.fail_json(msg=f"{path} is no directory")
            self.changed(path, None, "directory\n")
            if not self.module.check_mode:
                self._parents(f"{path}/")
                self.attributes(path, mode, note=False)
        else:
            self.attributes(path, mode)

    def _parents(self, path):
        """The directories above a file that is to be written belong to that change."""
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            self._parents(folder)
            os.mkdir(folder)
            self.attributes(folder, "0755", note=False)

    def remove(self, path):
        """Have no file there; a directory is not removed."""
        if not os.path.lexists(path):
            return
        self.changed(path, "file\n", None)
        if not self.module.check_mode:
            os.unlink(path)

    def attributes(self, path, mode, *, note=True):
        """Owner, mode and SELinux context as they have to be."""
        wanted = {
            "path": path,
            "mode": mode,
            # Whoever is not root has only files of his own.
            "owner": "root" if os.geteuid() == 0 else None,
            "group": "root" if os.geteuid() == 0 else None,
            "secontext": self._context(path),
            "attributes": None,
        }
        if not os.path.lexists(path):
            return
        shown = {}
        if self.module.set_fs_attributes_if_different(wanted, False, diff=shown) and note:
            self.paths.append(path)
            shown.update(before_header=path, after_header=path)
            self.diff.append(shown)

    def _context(self, path):
        if not self.module.selinux_enabled():
            return []
        return self.module.selinux_default_context(path)


def same_json(before, after):
    """Whether two texts are the same document."""
    try:
        return json.loads(before) == json.loads(after)
    except ValueError:
        return False


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="surrogateescape")
    except OSError:
        return None
