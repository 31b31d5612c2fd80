"""A project's licence as SPDX names it, out of what projects write instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["spdx"]

# Texts and trove classifiers that mean one licence only. "BSD License" is none: there are several.
_NAMES: Final = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_CLASSIFIER: Final = re.compile(r"License :: (?:OSI Approved :: )?(?P<name>.+)")
_EXPRESSION: Final = re.compile(r"[A-Za-z0-9.+-]+(?:(?: (?:AND|OR|WITH) )[()A-Za-z0-9.+-]+)*")


def spdx(text: str, classifiers: Iterable[str] = ()) -> str:
    """The SPDX expression; the text itself if it is unknown; empty if nothing is said.

    ``text`` may be a whole licence, as old metadata have it: that is no name.
    """
    text = text.strip()
    if text.lower() in _NAMES:
        return _NAMES[text.lower()]
    if _EXPRESSION.fullmatch(text):
        return text
    for each in classifiers:
        match = _CLASSIFIER.fullmatch(each.strip())
        if match and match["name"].lower() in _NAMES:
            return _NAMES[match["name"].lower()]
    return text if "\n" not in text else ""
