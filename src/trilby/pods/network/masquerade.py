"""One masquerading rule per address family for the builtin network, instead of one per pod.

The bridge plugin's ipMasq makes a chain for every pod: some 30 ms of iptables at ADD and 100 ms at
DEL. The builtin network's subnets are ours alone, so one rule for each serves all pods.
"""

from __future__ import annotations

import asyncio

import msgspec

from trilby.pods.network.builtin import BuiltinNetwork
from trilby.pods.network.errors import MasqueradeFailed
from trilby.system import process

_WAIT = ("-w", "10", "-t", "nat")
TIMEOUT = 30.0


class Rule(msgspec.Struct, frozen=True):
    """A rule of the chain POSTROUTING, and the program that sets it."""

    program: str
    words: tuple[str, ...]

    def command(self, action: str) -> list[str]:
        """The command line for ``-C``, ``-A`` or ``-D``."""
        return [self.program, *_WAIT, action, "POSTROUTING", *self.words]


def rules(network: BuiltinNetwork) -> tuple[Rule, ...]:
    """What leaves the bridge's subnet by another device gets the host's address."""
    comment = ("-m", "comment", "--comment", f"trilby network {network.name}")
    found = []
    for program, subnet, multicast in (
        ("iptables", network.subnet_v4, "224.0.0.0/4"),
        ("ip6tables", network.subnet_v6, "ff00::/8"),
    ):
        if subnet:
            where = ("-s", subnet, "!", "-d", multicast, "!", "-o", network.bridge)
            found.append(Rule(program, (*where, *comment, "-j", "MASQUERADE")))
    return tuple(found)


async def ensure(network: BuiltinNetwork) -> None:
    """Add the rules that are missing (about 3 ms when none is). Raises ``MasqueradeFailed``.

    Checked at every attachment, because firewalls like to start afresh. Two pods at once may add
    a rule twice: harmless, and remove() removes both.
    """
    await asyncio.gather(*map(_ensure, rules(network)))


async def remove(network: BuiltinNetwork) -> None:
    """Delete the rules, however often they are there."""
    for rule in rules(network):
        while await _try(rule, "-D"):
            pass


async def _ensure(rule: Rule) -> None:
    if await _try(rule, "-C"):
        return
    try:
        await process.arun(rule.command("-A"), timeout=TIMEOUT)
    except process.CommandFailed as error:
        raise MasqueradeFailed(
            f"pods would not reach the outside: {error.message}",
            hint="install iptables, or configure a CNI network",
        ) from error


async def _try(rule: Rule, action: str) -> bool:
    try:
        done = await process.arun(rule.command(action), timeout=TIMEOUT, check=False)
    except process.CommandFailed as error:
        raise MasqueradeFailed(error.message, hint=error.hint) from error
    return done.returncode == 0
