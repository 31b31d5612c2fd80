"""Driver options from storage.conf and flags, checked against what the driver knows."""

from __future__ import annotations

from msgspec.structs import replace

from trilby.storage.config import StorageConfig
from trilby.storage.drivers.base import DriverOptions, split_mount_options
from trilby.storage.errors import StorageConfigError

_DRIVERS = frozenset({"overlay", "overlay2", "vfs", "btrfs", "zfs"})
_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "f", "false", "no", "off"})
# Known to peers, and without meaning for what this driver does.
_IGNORED = {
    "overlay": frozenset({"override_kernel_check", "size", "inodes", "min_space", "fsname"}),
    "vfs": frozenset({"mountopt", "skip_mount_home", "size", "inodes", "min_space", "fsname"}),
}
_REFUSED = frozenset({"mount_program", "use_composefs", "force_mask"})


def driver_options(config: StorageConfig, driver: str) -> DriverOptions:
    """The options for ``driver``. Raises StorageConfigError for unknown and unusable ones."""
    options = DriverOptions(image_stores=config.additional_image_stores)
    places = config.option_places or ("",) * len(config.driver_options)
    for text, place in zip(config.driver_options, places, strict=True):
        shown = f"{place}: storage option {text!r}" if place else f"storage option {text!r}"
        key, separator, value = text.partition("=")
        if not separator:
            raise StorageConfigError(f"{shown}: it has the form key=value")
        key = key.strip().lower()
        prefix, dot, rest = key.partition(".")
        if dot and prefix and prefix not in _DRIVERS:
            raise StorageConfigError(f"{shown}: there is no driver {prefix!r}")
        if dot and prefix and prefix.removesuffix("2") != driver:
            continue
        options = _with(options, driver, rest if dot else key, value.strip(), shown)
    return options


def _with(options: DriverOptions, driver: str, key: str, value: str, shown: str) -> DriverOptions:
    match key:
        case "mountopt" if driver == "overlay":
            return replace(options, mount_options=split_mount_options(value))
        case "skip_mount_home" if driver == "overlay":
            return replace(options, skip_mount_home=_truth(value, shown))
        case "ignore_chown_errors":
            return replace(options, ignore_chown_errors=_truth(value, shown))
        case "sync":
            if value not in ("none", "filesystem"):
                raise StorageConfigError(f"{shown}: sync is none or filesystem")
            return replace(options, sync=value)
        case "imagestore" | "additionalimagestore":
            # The configuration has these among the additional stores already.
            return options
    if key in _REFUSED:
        if value.lower() in _FALSE:
            return options
        raise StorageConfigError(
            f"{shown}: {key} is not supported",
            hint="remove it: the kernel's overlay does without",
        )
    if key in _IGNORED.get(driver, ()):
        return options
    raise StorageConfigError(f"{shown}: the driver {driver} has no option {key!r}")


def _truth(value: str, shown: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise StorageConfigError(f"{shown}: {value!r} is neither true nor false")
