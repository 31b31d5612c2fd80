"""What only root can see: mapped owners, devices, whiteouts as the kernel's overlay reads them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.support.tars import archive, directory, hard_link, member, pax, reader, symlink, tree

from trilby.storage.tardiff import pack_directory, write_diff
from trilby.storage.tarerrors import CorruptLayer, LayerWriteError
from trilby.storage.unpack import Owners, unpack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts need root")
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
MAPPED = Owners(uids=((0, 100_000, 1000), (1000, 300_000, 5)), gids=((0, 200_000, 65_536),))


def put(root: Path, data: bytes, owners: Owners | None = None) -> Path:
    root.mkdir(exist_ok=True)
    unpack(reader(data), str(root), owners=owners, where="thread")
    return root


def test_owners_are_mapped_there_and_back(tmp_path: Path) -> None:
    data = archive(
        directory(b"d", uid=5, gid=6),
        member(b"d/f", b"1", uid=1002, gid=7, mode=0o6755),
        symlink(b"l", b"x"),
        member(b"implied/f", b"1"),
        hard_link(b"h", b"implied/f"),
        member(b".wh.gone"),
    )
    root = put(tmp_path / "root", data, MAPPED)
    owners = {name: entry[1:3] for name, entry in tree(root).items()}
    assert owners == {
        "d": (100_005, 200_006),
        "d/f": (300_002, 200_007),
        "l": (100_000, 200_000),
        "implied": (100_000, 200_000),
        "implied/f": (100_000, 200_000),
        "h": (100_000, 200_000),
        "gone": (100_000, 200_000),
    }
    assert stat.S_IMODE(os.stat(root / "d/f").st_mode) == 0o6755
    back = put(tmp_path / "back", b"".join(write_diff(str(root), owners=MAPPED)))
    owners = {name: entry[1:3] for name, entry in tree(back).items()}
    assert (owners["d"], owners["d/f"], owners["implied"]) == ((5, 6), (1002, 7), (0, 0))
    with pytest.raises(CorruptLayer, match="its owner 5 is in no mapped range"):
        list(write_diff(str(back), owners=MAPPED))
    with pytest.raises(CorruptLayer, match="user id 1005 is in none"):
        put(root, archive(member(b"x", uid=1005)), MAPPED)


def test_capabilities_and_setuid_survive_owners(tmp_path: Path) -> None:
    capability = pax([(b"SCHILY.xattr.security.capability", CAPABILITY)])
    data = archive(
        capability + member(b"cap", b"program", uid=3, gid=4, mode=0o755),
        member(b"suid", b"program", uid=3, gid=4, mode=0o4755),
        directory(b"group", 0o2755, gid=9),
        member(b"group/f", b"1"),
        directory(b"group/d"),
        directory(b"group", 0o755, gid=9),
        member(b"group/g", b"1"),
    )
    root = put(tmp_path / "root", data)
    assert os.getxattr(root / "cap", "security.capability") == CAPABILITY
    assert os.stat(root / "suid").st_mode & 0o7777 == 0o4755
    assert os.stat(root / "group/f").st_gid == os.stat(root / "group/d").st_gid == 0
    assert os.stat(root / "group/d").st_mode & 0o7777 == 0o755
    again = put(tmp_path / "again", b"".join(pack_directory(str(root))))
    assert tree(root) == tree(again)


def test_the_kernel_hides_what_the_whiteouts_say(tmp_path: Path) -> None:
    lower = put(
        tmp_path / "lower",
        archive(
            *(member(name, b"below") for name in (b"gone", b"opq/old", b"back/old", b"kept/old")),
            member(b"hidden/deep/old", b"below"),
        ),
    )
    upper = put(
        tmp_path / "upper",
        archive(
            member(b".wh.gone"),
            directory(b"opq"),
            member(b"opq/.wh..wh..opq"),
            member(b"opq/new", b"above"),
            member(b".wh.back"),
            member(b"back/new", b"above"),
            member(b"kept/new", b"above"),
            member(b"hidden/.wh.deep"),
        ),
    )
    merged = tmp_path / "merged"
    merged.mkdir()
    options = f"ro,lowerdir={upper}:{lower}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    try:
        seen = sorted(str(p.relative_to(merged)) for p in merged.rglob("*") if p.is_file())
        hidden = list((merged / "hidden").iterdir())
    finally:
        subprocess.run(["umount", merged], check=True)
    assert seen == ["back/new", "kept/new", "kept/old", "opq/new"] and hidden == []


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "small", small], check=True)
    try:
        with pytest.raises(LayerWriteError, match="cannot unpack 'f9' .*No space left") as caught:
            put(small, archive(*(member(b"f%d" % n, b"x" * 110_000) for n in range(20))))
    finally:
        subprocess.run(["umount", small], check=True)
    assert caught.value.errno == 28 and "free some space" in caught.value.hint


def test_default_acls_do_not_change_modes(tmp_path: Path) -> None:
    """A directory's default ACL is handed down, but a file's mode is the archive's."""
    acl = bytes.fromhex("0200000001000700ffffffff04000000ffffffff20000000ffffffff")
    root = put(
        tmp_path / "root",
        archive(
            pax([(b"SCHILY.xattr.system.posix_acl_default", acl)]) + directory(b"d"),
            member(b"d/f", b"1", mode=0o664),
        ),
    )
    assert os.stat(root / "d/f").st_mode & 0o777 == 0o664
