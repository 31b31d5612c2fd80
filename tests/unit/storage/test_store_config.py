"""storage.conf: which files count, what they may say, and where a mistake is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.storage.config import StorageConfig, load_storage_config
from trilby.storage.drivers.options import driver_options
from trilby.storage.drivers.registry import open_driver
from trilby.storage.errors import StorageConfigError


class Host:
    """A host's configuration directories below a test directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"HOME": str(folder / "home")}
        self.system = (str(folder / "usr"), str(folder / "etc"))

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, uid: int = 0, **flags: object) -> StorageConfig:
        return load_storage_config(self.env, uid=uid, system=self.system, **flags)  # type: ignore[arg-type]  # flags as a test needs them


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_without_any_file(host: Host) -> None:
    config = host.load()
    assert (config.graphroot, config.runroot) == (
        "/var/lib/containers/storage",
        "/run/containers/storage",
    )
    assert config.driver == "" and config.sources == ()


def test_without_any_file_and_without_root(host: Host) -> None:
    host.env["XDG_RUNTIME_DIR"] = "/run/user/7"
    config = host.load(uid=7)
    assert config.graphroot == f"{host.env['HOME']}/.local/share/containers/storage"
    assert config.runroot == "/run/user/7/containers"


def test_the_first_main_file_counts(host: Host) -> None:
    host.write("usr/storage.conf", '[storage]\ndriver = "vfs"\ngraphroot = "/usr/g"\n')
    assert host.load().driver == "vfs"
    host.write("etc/storage.conf", '[storage]\nrunroot = "/etc/r"\n')
    config = host.load()
    assert (config.driver, config.runroot) == ("", "/etc/r")
    host.write("home/.config/containers/storage.conf", '[storage]\ngraphroot = "/home/g"\n')
    assert host.load().graphroot == "/home/g"


def test_drop_ins_in_order_of_their_names(host: Host) -> None:
    host.write("usr/storage.conf.d/20-b.conf", '[storage]\ngraphroot = "/usr/b"\n')
    host.write("etc/storage.conf.d/10-a.conf", '[storage]\ngraphroot = "/etc/a"\n')
    host.write("etc/storage.conf.d/30-c.txt", "not read")
    assert host.load().graphroot == "/usr/b"
    host.write("etc/storage.conf.d/20-b.conf", '[storage]\ngraphroot = "/etc/b"\n')
    assert host.load().graphroot == "/etc/b"
    host.write("etc/storage.rootful.conf.d/40.conf", '[storage]\ngraphroot = "/etc/root"\n')
    host.write("etc/storage.rootless.conf.d/50.conf", "wrong")
    assert host.load().graphroot == "/etc/root"


def test_one_file_by_the_environment(host: Host) -> None:
    host.write("etc/storage.conf", "wrong")
    only = host.write("only.conf", '[storage]\ndriver = "overlay"\n')
    host.env["CONTAINERS_STORAGE_CONF"] = str(only)
    assert host.load().sources == (str(only),)
    host.env["CONTAINERS_STORAGE_CONF"] = "/no/such/file"
    with pytest.raises(StorageConfigError, match="/no/such/file: CONTAINERS_STORAGE_CONF"):
        host.load()


def test_the_last_file_by_the_environment(host: Host) -> None:
    host.write("etc/storage.conf", '[storage]\ndriver = "vfs"\ngraphroot = "/g"\n')
    last = host.write("last.conf", '[storage]\ndriver = "overlay"\n')
    host.env["CONTAINERS_STORAGE_CONF_OVERRIDE"] = str(last)
    config = host.load()
    assert (config.driver, config.graphroot) == ("overlay", "/g")


def test_environment_and_flags(host: Host) -> None:
    host.write("etc/storage.conf", '[storage.options.overlay]\nmountopt = "nodev"\n')
    assert host.load().driver_options == ("overlay.mountopt=nodev",)
    host.env |= {"STORAGE_DRIVER": "vfs", "STORAGE_OPTS": "overlay.mountopt=a,sync=none"}
    config = host.load()
    assert config.driver == "vfs"
    assert config.driver_options == ("overlay.mountopt=a", "sync=none")
    config = host.load(root="/r/../g", runroot="/run", driver="overlay", options=["x=y"])
    assert (config.graphroot, config.runroot, config.driver) == ("/g", "/run", "overlay")
    assert config.driver_options == ("x=y",)


def test_an_unknown_driver_has_a_line(host: Host) -> None:
    path = host.write("etc/storage.conf", '[storage]\ndriver = "btrfs"\n')
    with pytest.raises(StorageConfigError, match=rf"^{path}:2: storage.driver: .*'btrfs'"):
        open_driver(host.load())
    with pytest.raises(StorageConfigError, match="^opening .*'zfs'"):
        open_driver(host.load(driver="zfs"))


def test_lists_can_be_added_to(host: Host) -> None:
    host.write("etc/storage.conf", '[storage.options]\nadditionalimagestores = ["/a"]\n')
    host.write(
        "etc/storage.conf.d/1.conf",
        '[storage.options]\nadditionalimagestores = [{append = true}, "/b"]\n',
    )
    assert host.load().additional_image_stores == ("/a", "/b")
    assert host.load(options=["overlay.imagestore=/c"]).additional_image_stores == (
        "/a",
        "/b",
        "/c",
    )


def test_variables_in_paths(host: Host) -> None:
    host.write("etc/storage.conf", '[storage]\nrootless_storage_path = "$HOME/s/$UID/${NONE}"\n')
    assert host.load(uid=7).graphroot == f"{host.env['HOME']}/s/7"
    assert host.load().graphroot == "/var/lib/containers/storage"


def test_roots_for_all_users_are_the_superusers(host: Host) -> None:
    host.write("etc/storage.conf", '[storage]\ngraphroot = "/g"\n')
    assert host.load(uid=7).graphroot.startswith(host.env["HOME"])


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("[storage]\n\ngraphroot = 7\n", 3, "absolute"),
        ("[storage]\ndriver = []\n", 2, "must be a text"),
        ('[storage]\ngraphroot = "g"\n', 2, "absolute path"),
        ("[storage]\ntransient_store = 1\n", 2, "true or false"),
        ("[storage]\ndriver_priority = [1]\n", 2, "list of texts"),
        ('[storage]\n[storage.options]\nimagestore = "/s"\n', 3, "not supported"),
        ("storage = 1\n", 1, "table"),
        ("[storage\n", 1, ""),
    ],
)
def test_mistakes_have_a_line(host: Host, text: str, line: int, why: str) -> None:
    path = host.write("etc/storage.conf", text)
    with pytest.raises(StorageConfigError, match=rf"^{path}:{line}: .*{why}"):
        host.load()


def test_unknown_keys_are_warnings(host: Host) -> None:
    path = host.write(
        "etc/storage.conf",
        '[storage]\ngraphrot = "/g"\n[storage.options]\nx = 1\n[storage.options.pull_options]\n'
        'enable_partial_images = "false"\n[other]\n',
    )
    assert [text.partition(": ")[0] for text in host.load().warnings] == [
        f"{path}:2",
        f"{path}:4",
        f"{path}:7",
    ]


def options(*texts: str) -> StorageConfig:
    return StorageConfig("/g", "/r", driver_options=texts)


def test_driver_options() -> None:
    given = options(".mountopt=nodev, metacopy=on", "vfs.ignore_chown_errors=true", "SYNC=none")
    overlay = driver_options(given, "overlay")
    assert overlay.mount_options == ("nodev", "metacopy=on")
    assert overlay.sync == "none" and not overlay.ignore_chown_errors
    assert driver_options(given, "vfs").ignore_chown_errors


@pytest.mark.parametrize(
    "text",
    ["overlay.nonsense=1", "fat.size=1", "mountopt", "sync=often", "use_composefs=true"]
    + ["ignore_chown_errors=maybe", "mount_program=/usr/bin/fuse-overlayfs"],
)
def test_wrong_driver_options(text: str) -> None:
    with pytest.raises(StorageConfigError, match=text):
        driver_options(options(text), "overlay")


def test_a_wrong_option_has_a_line(host: Host) -> None:
    path = host.write(
        "etc/storage.conf",
        '[storage]\n[storage.options]\nmountopt = "nodev"\n[storage.options.overlay]\n'
        'sync = "often"\nmountopt = "nosuid"\n',
    )
    with pytest.raises(StorageConfigError, match=rf"^{path}:5: .*sync=often"):
        driver_options(host.load(), "overlay")
    good = host.load(options=["mountopt=noexec"])
    assert driver_options(good, "overlay").mount_options == ("noexec",)
    path.write_text(path.read_text().replace("often", "none"))
    assert driver_options(host.load(), "overlay").mount_options == ("nosuid",)


def test_choosing_a_driver(tmp_path: Path) -> None:
    def chosen(driver: str = "", **more: object) -> str:
        return open_driver(StorageConfig(str(tmp_path), str(tmp_path), driver, **more)).name  # type: ignore[arg-type]  # as above

    assert chosen() == "overlay"
    assert chosen(driver_priority=("btrfs", "vfs")) == "vfs"
    assert chosen("overlay2") == "overlay"
    (tmp_path / "vfs").mkdir()
    assert chosen() == "vfs"
    (tmp_path / "overlay").mkdir()
    assert chosen("overlay") == "overlay"
    with pytest.raises(StorageConfigError, match="overlay, vfs"):
        chosen()
    with pytest.raises(StorageConfigError, match="btrfs"):
        chosen("btrfs")
