"""Which user an image's containers run as, for the kubelet's runAsNonRoot check."""

from __future__ import annotations

from trilby.errors import TrilbyError
from trilby.image.service import Images


class ImageUsers:
    """An image's config never changes: it is read once."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._known: dict[str, tuple[int | None, str]] = {}

    def of(self, image_id: str) -> tuple[int | None, str]:
        """A number or a name, never both; ``(0, "")`` without a user."""
        if image_id not in self._known:
            try:
                user = self._images.config(image_id).config.user
            except TrilbyError:
                return None, ""  # damaged, or removed meanwhile: its containers say what is wrong
            self._known[image_id] = parse_user(user)
        return self._known[image_id]

    def forget(self, image_id: str) -> None:
        self._known.pop(image_id, None)


def parse_user(user: str) -> tuple[int | None, str]:
    """``user[:group]`` of an image config."""
    name = user.partition(":")[0]
    if not name:
        return 0, ""
    if name.isascii() and name.isdigit():
        return int(name), ""
    return None, name
