"""Who a container runs as: names and ids resolved in the image's own passwd and group files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import SupplementalGroupsPolicy
from trilby.pods.model_container import ContainerSecurity

MAX_ID = 2**32 - 2


class ResolvedUser(msgspec.Struct, frozen=True, kw_only=True):
    """``groups`` are the supplementary ones, the primary first.

    ``passwd_line`` is a line that makes the uid known, empty when it is known to the image or the
    image has no passwd file.
    """

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    name: str = ""
    passwd_line: str = ""


class Account(msgspec.Struct, frozen=True):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int


class Group(msgspec.Struct, frozen=True):
    """A line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


def wanted_user(security: ContainerSecurity, image_user: str) -> str:
    """``user[:group]`` by the CRI's order: the request's uid, its name, the image's ``User``."""
    given = security.run_as_user is not None or security.run_as_username
    if security.run_as_group is not None and not given:
        raise InvalidPodConfig("run_as_group is given without a user to run as")
    user = image_user
    if security.run_as_user is not None:
        user = str(security.run_as_user)
    elif security.run_as_username:
        user = security.run_as_username
    if security.run_as_group is not None:
        user = f"{user.partition(':')[0]}:{security.run_as_group}"
    return user


def resolve_user(
    security: ContainerSecurity, image_user: str, passwd: str, group: str
) -> ResolvedUser:
    """Find the ids. ``passwd`` and ``group`` are the files' texts, empty when the image has none.

    Supplementary groups: the primary one always; with policy Merge those that the image's group
    file gives to the user; and those of the request. Raises ``InvalidPodConfig`` for names that
    the image does not know and ids out of range.
    """
    wanted, _, wanted_group = wanted_user(security, image_user).partition(":")
    account = _account(wanted or "0", passwd)
    gid = _group_id(wanted_group, group) if wanted_group else account.gid
    groups = [gid]
    if security.supplemental_groups_policy is SupplementalGroupsPolicy.MERGE and account.name:
        groups += [item.gid for item in parse_group(group) if account.name in item.members]
    groups += [_in_range(number, "group") for number in security.supplemental_groups]
    line = ""
    if not account.name and passwd:
        uid = account.uid
        line = f"{uid}:x:{uid}:{gid}:{uid} user:/:/sbin/nologin"
    return ResolvedUser(
        uid=account.uid,
        gid=gid,
        groups=tuple(dict.fromkeys(groups)),
        name=account.name,
        passwd_line=line,
    )


def parse_passwd(text: str) -> Iterator[Account]:
    """The accounts of a passwd file; lines that are none are passed over."""
    for fields in _records(text, 4):
        if fields[2].isdecimal() and fields[3].isdecimal():
            yield Account(fields[0], int(fields[2]), int(fields[3]))


def parse_group(text: str) -> Iterator[Group]:
    """The groups of a group file; lines that are none are passed over."""
    for fields in _records(text, 3):
        if fields[2].isdecimal():
            members = fields[3].split(",") if len(fields) > 3 else []
            yield Group(fields[0], int(fields[2]), tuple(name.strip() for name in members))


def _records(text: str, least: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= least and fields[0] and not line.startswith("#"):
            yield fields


def _account(wanted: str, passwd: str) -> Account:
    """A number is always a uid, known to the image or not; a name has to be known."""
    if _is_number(wanted):
        uid = _in_range(int(wanted), "user")
        found = (account for account in parse_passwd(passwd) if account.uid == uid)
        return next(found, Account("", uid, 0))
    for account in parse_passwd(passwd):
        if account.name == wanted:
            _in_range(account.uid, "user")
            _in_range(account.gid, "group")
            return account
    raise InvalidPodConfig(f"the image has no user {wanted!r}", hint="use a numeric uid")


def _group_id(wanted: str, group: str) -> int:
    if _is_number(wanted):
        return _in_range(int(wanted), "group")
    for item in parse_group(group):
        if item.name == wanted:
            return _in_range(item.gid, "group")
    raise InvalidPodConfig(f"the image has no group {wanted!r}", hint="use a numeric gid")


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _in_range(number: int, what: str) -> int:
    if not 0 <= number <= MAX_ID:
        raise InvalidPodConfig(f"{what} id {number} is not between 0 and {MAX_ID}")
    return number


def missing_ids(user: ResolvedUser, sizes: Iterable[tuple[int, int]]) -> list[int]:
    """Ids of the user that no (first, length) range of a user namespace maps."""
    ranges = list(sizes)
    return [
        number
        for number in (user.uid, user.gid, *user.groups)
        if not any(first <= number < first + length for first, length in ranges)
    ]
