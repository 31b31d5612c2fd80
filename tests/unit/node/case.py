"""One changed host, and what one check says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.made_host import Files, MadeHost, made_host, node_of

from trilby.node.catalogue import CHECKS
from trilby.node.engine import examine
from trilby.node.model import Outcome

BY_ID = {check.id: check for check in CHECKS}


class Case:
    """``says`` is part of the evidence, ``prepare`` changes what files cannot tell."""

    def __init__(
        self,
        id: str,
        verdict: str,
        says: str,
        files: Files | None = None,
        prepare: Callable[[MadeHost], None] | None = None,
        config: str = "",
    ) -> None:
        self.id = id
        self.verdict = verdict
        self.says = says
        self.files = files or {}
        self.prepare = prepare
        self.config = config

    def __repr__(self) -> str:
        return f"{self.id}-{self.verdict}-{self.says}"

    def look(self) -> Outcome:
        with self.host() as host:
            return examine(node_of(host, self.config), [BY_ID[self.id]], network=True)[0]

    def check(self) -> None:
        outcome = self.look()
        evidence = "\n".join(outcome.evidence)
        assert (outcome.verdict, self.says) == (self.verdict, self.says), evidence
        assert self.says in evidence
        if self.verdict in ("warn", "fail"):
            assert outcome.mend, "nothing is said about mending it"

    @contextmanager
    def host(self) -> Iterator[MadeHost]:
        with made_host(self.files) as host:
            if self.prepare:
                self.prepare(host)
            yield host
