"""Builds small RPMs with rpmfluff; runs in the tree of tools, with that tree's Python.

rpmfluff_build.py FOLDER     packages as JSON on stdin, see standin_fluff.Fluff
"""

from __future__ import annotations

import json
import os
import sys
import tempfile


def main(folder: str) -> None:
    from rpmfluff import SimpleRpmBuild, SourceFile  # type: ignore[import-not-found]

    for wish in json.load(sys.stdin):
        # rpmfluff builds in the working directory.
        with tempfile.TemporaryDirectory() as work:
            os.chdir(work)
            package = SimpleRpmBuild(wish["name"], wish["version"], "1", ["noarch"])
            package.header += "%global _binary_payload w1.gzdio\n"
            package.addLicense("Apache-2.0")
            for kind in ("requires", "provides", "conflicts", "obsoletes"):
                for text in wish[kind]:
                    getattr(package, f"add_{kind}")(text)
            for path, content in wish["files"].items():
                name = path.strip("/").replace("/", "-")
                package.add_installed_file(path, SourceFile(name, content), mode="0644")
            package.section_pre = wish["pre"]
            package.section_post = wish["post"]
            package.make()
            built = package.get_built_rpm("noarch")
            with open(built, "rb") as source:
                with open(os.path.join(folder, os.path.basename(built)), "wb") as target:
                    target.write(source.read())
            os.chdir("/")


if __name__ == "__main__":
    main(sys.argv[1])
