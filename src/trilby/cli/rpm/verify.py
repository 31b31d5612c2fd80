"""trilby rpm verify."""

from __future__ import annotations

import os

import click
import msgspec

from trilby.cli.output import Column, print_rows
from trilby.cli.rpm.options import packages_of, tools_of, tools_option


@click.command("verify", epilog="Example: trilby rpm verify --key ~/keys/public.asc build/rpms")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--key", metavar="FILE", required=True, help="The public key that must have signed.")
@tools_option
@click.option("--format", metavar="FORMAT", default="", help="json, table or {{.Field}} template.")
def command(paths: tuple[str, ...], key: str, tools: str, format: str) -> None:
    """Check digests and signatures of packages against one key; keys of the host do not count.

    Of a directory all packages below are checked, and if it is a repository, its metadata.

    Ends with 6 if a package is not what the key's owner signed.
    """
    from trilby.rpm.errors import NotVerified
    from trilby.rpm.verify import Verdict, verify, verify_metadata

    place = tools_of(tools)
    found = verify(packages_of(paths), key, tools=place)
    for path in paths:
        if os.path.exists(os.path.join(path, "repodata", "repomd.xml")):
            found.append(verify_metadata(path, key, tools=place))
    columns: list[Column[Verdict]] = [
        Column("PACKAGE", "Package", lambda each: os.path.basename(each.path)),
        Column("DIGESTS", "Digests", lambda each: "ok" if each.digests else "bad"),
        Column("SIGNATURE", "Signature", lambda each: "ok" if each.signed else "no"),
        Column("KEY", "Key", lambda each: each.key),
    ]
    print_rows(found, columns, format=format, json=msgspec.to_builtins)
    bad = [f"{each.path}: {each.reason}" for each in found if not each.good]
    if bad:
        raise NotVerified("\n  ".join([f"{len(bad)} of {len(found)} are not as signed:", *bad]))
