"""trilby node check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trilby.cli.node.settings import format_option, host_options, node_of
from trilby.cli.output import print_json
from trilby.cli.settings import Settings

if TYPE_CHECKING:
    from trilby.node.model import Check, Outcome

# Marks beside the words: a table that is read without colours says the same.
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}


def _ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For completion: ids, and groups where several are meant."""
    from trilby.node.catalogue import CHECKS

    before, comma, last = incomplete.rpartition(",")
    known = dict.fromkeys([*(check.group for check in CHECKS), *(check.id for check in CHECKS)])
    return [f"{before}{comma}{name}" for name in known if name.startswith(last)]


def _split(values: tuple[str, ...]) -> list[str]:
    return [name for value in values for name in value.split(",") if name]


@click.command(
    "check",
    epilog="Example: trilby node check --only sysctls,cgroup-driver --format json",
)
@host_options
@click.option("--network", is_flag=True, help="Also ask peers: registries, the API server, etcd.")
@click.option(
    "--only",
    metavar="ID,...",
    multiple=True,
    shell_complete=_ids,
    help="Checks to run: ids, groups, or patterns as sysctl-*; may be repeated.",
)
@click.option(
    "--skip",
    metavar="ID,...",
    multiple=True,
    shell_complete=_ids,
    help="Checks to leave out, likewise.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Show the whole cluster instead, from a host of its control plane: nodes, control plane,"
    " etcd, certificates.",
)
@click.option(
    "--kubeconfig",
    metavar="FILE",
    default="",
    help="With --cluster: whom to ask, and as whom; without it /etc/kubernetes/admin.conf.",
)
@click.option("--list", "listing", is_flag=True, help="Name the checks, and look at nothing.")
@click.option(
    "--explain", metavar="ID", default="", shell_complete=_ids, help="Tell what a check is for."
)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Show what passed and was skipped, too."
)
@format_option("table, or json for machines.")
@click.pass_obj
def command(
    settings: Settings,
    config_file: str,
    kubelet_config: str,
    host_root: str,
    network: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    cluster: bool,
    kubeconfig: str,
    listing: bool,
    explain: str,
    everything: bool,
    format: str,
) -> int:
    """Check whether a host is fit to run pods, and tell what to do where it is not.

    Kernel, modules, sysctls, cgroups, swap, storage, programs, CNI networks, ports, names,
    registries, SELinux, clock, kubelet, daemon, cluster and etcd: each check says what it saw, with
    file and line where a file says it, why it matters, and the command that mends it. Nothing is
    changed. What only root may see is skipped for others, and what is of a cluster where there is
    none.

    --cluster asks the API server, etcd and each node's servers instead, and shows who is there and
    how they are: each node with its runtime, versions, addresses and range of pods, the members of
    control plane and etcd, and which certificate ends first.

    Ends with 0 if there is nothing to do, with 1 if there are warnings, with 2 if something fails
    that keeps pods from running as they should.
    """
    from trilby.node.catalogue import CHECKS
    from trilby.node.engine import choose, examine
    from trilby.node.model import status_of

    if explain:
        return _explain(choose(CHECKS, [explain]), format)
    chosen = choose(CHECKS, _split(only), _split(skip))
    if listing:
        return _list(chosen, format)
    node = node_of(settings, config_file, host_root, kubelet_config)
    if cluster:
        from trilby.cli.node.cluster import show_cluster

        return show_cluster(node, kubeconfig, format)
    outcomes = examine(node, chosen, network=network)
    if format == "json":
        print_json(document(outcomes))
    else:
        _table(outcomes, everything)
    return status_of(outcomes)


def document(outcomes: list[Outcome]) -> dict[str, object]:
    """The report for machines."""
    import msgspec

    from trilby.node.model import Verdict, status_of

    return {
        "status": status_of(outcomes),
        "counts": {each.value: sum(one.verdict is each for one in outcomes) for each in Verdict},
        "checks": msgspec.to_builtins(outcomes),
    }


def _table(outcomes: list[Outcome], everything: bool) -> None:
    from trilby.node.model import Verdict

    bad = (Verdict.WARN, Verdict.FAIL)
    shown = [one for one in outcomes if everything or one.verdict in bad]
    width = max((len(one.id) for one in shown), default=0)
    for one in shown:
        first, *more = one.evidence or ("",)
        mark = click.style(one.verdict, fg=_COLOURS[one.verdict], bold=one.verdict in bad)
        click.echo(f"{mark}  {one.id:{width}}  {first}".rstrip())
        lines = [("", line) for line in more]
        if one.verdict in bad:
            lines += [("why: ", one.why), *([("do:  ", one.mend)] if one.mend else [])]
        for word, line in lines:
            click.echo(f"      {'':{width}}  {word}{line}")
    counts = {each: sum(one.verdict is each for one in outcomes) for each in Verdict}
    click.echo(
        f"{len(outcomes)} checks: {counts[Verdict.PASS]} passed, {counts[Verdict.WARN]} warnings,"
        f" {counts[Verdict.FAIL]} failed, {counts[Verdict.SKIP]} skipped"
    )


def _list(checks: list[Check], format: str) -> int:
    if format == "json":
        print_json([_fields(check) for check in checks])
        return 0
    width = max((len(check.id) for check in checks), default=0)
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            click.echo(click.style(group, bold=True))
        note = " (with --network)" if check.network else ""
        click.echo(f"  {check.id:{width}}  {check.title}{note}")
    return 0


def _explain(checks: list[Check], format: str) -> int:
    if format == "json":
        print_json([_fields(check) for check in checks])
        return 0
    for check in checks:
        click.echo(f"{check.id} ({check.group}): {check.title}")
        click.echo(f"  why: {check.why}")
        if check.mend:
            click.echo(f"  do:  {check.mend}")
    return 0


def _fields(check: Check) -> dict[str, object]:
    return {
        "id": check.id,
        "group": check.group,
        "title": check.title,
        "why": check.why,
        "mend": check.mend,
        "network": check.network,
    }
