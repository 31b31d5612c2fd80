"""Resource limits and the OOM score of a process, within what this host lets us set."""

from __future__ import annotations

from collections.abc import Iterable

from trilby.oci.runtime import Rlimit
from trilby.pods.errors import InvalidPodConfig
from trilby.system import limits
from trilby.system.limits import UNLIMITED, HostLimits

NAMES = (
    "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME"
    " SIGPENDING STACK"
).split()


def parse_ulimit(text: str) -> Rlimit:
    """``nofile=1024:2048``, ``nofile=1024``; -1 or unlimited is no limit, as in CRI-O's option.

    Raises ``InvalidPodConfig``.
    """
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    kind = name.strip().upper().removeprefix("RLIMIT_")
    if kind not in NAMES:
        raise InvalidPodConfig(
            f"ulimit {text!r}: unknown limit {name!r}", hint=f"known: {', '.join(NAMES).lower()}"
        )
    try:
        low = _limit(soft)
        high = _limit(hard) if colon else low
    except ValueError:
        raise InvalidPodConfig(
            f"ulimit {text!r} is not understood", hint="write it like nofile=1024:2048"
        ) from None
    if low > high:
        raise InvalidPodConfig(f"ulimit {text!r}: the soft limit is above the hard one")
    return Rlimit(f"RLIMIT_{kind}", hard=high, soft=low)


def _limit(text: str) -> int:
    if text.strip() in ("-1", "unlimited"):
        return UNLIMITED
    value = int(text)
    if not 0 <= value <= UNLIMITED:
        raise ValueError(text)
    return value


def build_rlimits(
    wanted: Iterable[Rlimit], host: HostLimits
) -> tuple[tuple[Rlimit, ...], tuple[str, ...]]:
    """The limits, and a warning for each that is above what we may set."""
    given, warnings = [], []
    for item in wanted:
        limit, warning = host.clamp_rlimit(item.type, limits.Rlimit(item.soft, item.hard))
        given.append(Rlimit(item.type, hard=limit.hard, soft=limit.soft))
        if warning:
            warnings.append(warning)
    return tuple(given), tuple(warnings)


def build_oom_score(wanted: int | None, host: HostLimits) -> tuple[int | None, tuple[str, ...]]:
    """The score to write (None: leave it), and a warning if it is not the one asked for."""
    if wanted is None:
        return None, ()
    if not -1000 <= wanted <= 1000:
        raise InvalidPodConfig(f"oom_score_adj {wanted} is not between -1000 and 1000")
    score, warning = host.clamp_oom_score(wanted)
    return score, (warning,) if warning else ()
