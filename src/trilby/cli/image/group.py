"""The table of the image commands."""

from __future__ import annotations

from trilby.cli.lazy import LazyGroup

_HERE = "trilby.cli.image"

COMMANDS = {
    "copy": (f"{_HERE}.copy", "Copy an image between any two places"),
    "history": (f"{_HERE}.history", "Show how an image was built, step by step"),
    "import": (f"{_HERE}.import_", "Make an image from a directory or a tar file"),
    "inspect": (f"{_HERE}.inspect", "Show all that is known of an image"),
    "list": (f"{_HERE}.list", "List the images of the store"),
    "mount": (f"{_HERE}.mount", "Mount an image read-only, or list what is mounted"),
    "prune": (f"{_HERE}.prune", "Remove images that nothing needs"),
    "pull": (f"{_HERE}.pull", "Fetch images from a registry or another place"),
    "push": (f"{_HERE}.push", "Send an image to a registry or another place"),
    "remove": (f"{_HERE}.remove", "Remove images by name or id"),
    "tag": (f"{_HERE}.tag", "Give an image further names"),
    "unmount": (f"{_HERE}.unmount", "Undo image mount"),
    "untag": (f"{_HERE}.untag", "Take names from an image"),
}

ALIASES = {"ls": "list", "rm": "remove", "umount": "unmount"}

command = LazyGroup("image", COMMANDS, help="Work with the images of the store.", aliases=ALIASES)
