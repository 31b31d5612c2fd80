"""trilby config check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from trilby.cli.config.files import dir_option, overrides, place
from trilby.cli.output import json_flag, print_json
from trilby.cli.settings import Settings
from trilby.errors import InvalidInput

if TYPE_CHECKING:
    from trilby.cri.config_finding import Finding


@click.command(
    "check", epilog="Example: trilby config check --kubelet-config /var/lib/kubelet/config.yaml"
)
@click.option(
    "--authfile",
    metavar="FILE",
    default="",
    envvar="REGISTRY_AUTH_FILE",
    help="auth.json to read instead of the default ones (also REGISTRY_AUTH_FILE).",
)
@dir_option
@click.option("--format", metavar="FORMAT", default="", help="json, for machines.")
@click.option(
    "--kubelet-config",
    metavar="FILE",
    default="",
    help="The kubelet's configuration; without it /var/lib/kubelet/config.yaml, if it is there.",
)
@click.pass_obj
def command(
    settings: Settings, authfile: str, config_dir: str, format: str, kubelet_config: str
) -> None:
    """Read every configuration file as the daemon and the other commands would, and tell mistakes.

    trilby.conf with its types, ranges and options that contradict each other; storage.conf,
    registries.conf, registries.d, policy.json, auth.json and CNI conflists, with their drop-ins;
    policies of namespaces, seccomp profiles and certificates; whether the programs are there and
    run; whether addresses are taken; and whether the kubelet's configuration fits. An unknown
    option is a mistake here, and a warning elsewhere.

    Each finding says where, what, why it matters and what to do. Ends with 2 if there is a
    mistake. Warnings alone, which nothing fails of today, end with 0.
    """
    from trilby.cri.config_check import Asked, check
    from trilby.cri.config_finding import Severity

    as_json = json_flag(format)
    found = check(
        Asked(
            config_file=place(settings.config),
            config_dir=place(config_dir),
            overrides=overrides(settings),
            authfile=authfile,
            kubelet_config=kubelet_config,
        )
    )
    if as_json:
        print_json([document(each) for each in found])
    else:
        for each in found:
            click.echo(each.text())
    count = sum(each.severity is Severity.ERROR for each in found)
    if count:
        raise InvalidInput(f"{count} mistake{'s' if count > 1 else ''} in configuration files")


def document(finding: Finding) -> dict[str, object]:
    """A finding for machines; line and column are 0 where they are not known."""
    found: dict[str, object] = msgspec.structs.asdict(finding)
    return found
