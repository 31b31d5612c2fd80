"""Ansible's way into the hosts of tests/support/hosts.py: nsenter, with pipelining."""

from __future__ import annotations

import glob
import os
import shlex
import subprocess

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase, ensure_connect
from ansible.utils.display import Display

DOCUMENTATION = r"""
name: host
author: Trilby maintainers
short_description: run tasks in a host made of namespaces
description:
  - Enters the namespaces of the host's PID 1 by nsenter(1); no daemon is needed for that.
options:
  host:
    description: The host's name, or its address.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      # The only one of both that is another host's where a task is delegated.
      - name: ansible_host
  place:
    description: Where the launcher keeps its hosts.
    type: path
    default: /dev/shm/trilby-hosts
    env:
      - name: TRILBY_HOSTS
  remote_user:
    description: Not used; tasks run as root.
    type: str
    default: root
    vars:
      - name: ansible_user
"""


ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
}
display = Display()


class Connection(ConnectionBase):
    """One host. Each command finds its PID 1 anew, for a reboot changes that."""

    transport = "host"
    has_pipelining = True
    has_tty = False

    def _connect(self) -> Connection:
        if not self._connected:
            self._leader()
            self._connected = True
        return self

    def _leader(self) -> str:
        place, name = self.get_option("place"), self.get_option("host")
        for path in glob.glob(os.path.join(place, "*", "address")):
            with open(path) as file:
                if file.read().strip() == name:
                    name = os.path.basename(os.path.dirname(path))
        try:
            with open(os.path.join(place, name, "pid")) as file:
                pid = file.read().strip()
        except OSError as error:
            raise AnsibleConnectionFailure(f"{name} does not run: {error}") from error
        if not os.path.isdir(f"/proc/{pid}"):
            raise AnsibleConnectionFailure(f"{name} does not run: process {pid} is gone")
        return pid

    def _argv(self, command: str) -> list[str]:
        enter = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
        return [
            *("nsenter", "-t", self._leader(), *enter, "--"),
            *("env", "-i", *(f"{key}={value}" for key, value in ENVIRONMENT.items())),
            *("/bin/sh", "-c", command),
        ]

    def _run(self, command: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
        done = subprocess.run(self._argv(command), input=data, capture_output=True)
        return done.returncode, done.stdout, done.stderr

    @ensure_connect
    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {cmd}", host=self.get_option("host"))
        return self._run(cmd, in_data or b"")

    @ensure_connect
    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, out_path)
        with open(in_path, "rb") as file:
            status, _, said = self._run(f"cat >{shlex.quote(out_path)}", file.read())
        if status:
            raise AnsibleError(f"cannot write {out_path}: {said.decode(errors='replace')}")

    @ensure_connect
    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(in_path, out_path)
        status, content, said = self._run(f"cat {shlex.quote(in_path)}")
        if status:
            raise AnsibleError(f"cannot read {in_path}: {said.decode(errors='replace')}")
        with open(out_path, "wb") as file:
            file.write(content)

    def close(self) -> None:
        self._connected = False
