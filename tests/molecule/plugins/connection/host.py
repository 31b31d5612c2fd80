"""Ansible's way into the hosts of tests/support/hosts.py, whatever they are made of."""

from __future__ import annotations

import glob
import json
import os
import shlex
import subprocess

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase, ensure_connect
from ansible.utils.display import Display

DOCUMENTATION = r"""
name: host
author: Trilby maintainers
short_description: run tasks in a host of the tests
description:
  - The launcher has written the words that run a command in the host, as nsenter(1) and its options.
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
#: What tests/support/host_agent.py ends with when the host does not answer.
UNREACHABLE = 255
display = Display()


class Connection(ConnectionBase):
    """One host. Each command finds its PID 1 anew, for a reboot changes that."""

    transport = "host"
    has_pipelining = True
    has_tty = False

    def _connect(self) -> Connection:
        if not self._connected:
            self._enter()
            self._connected = True
        return self

    def _enter(self) -> list[str]:
        """The words before a command, if the host runs."""
        place, name = self.get_option("place"), self.get_option("host")
        for path in glob.glob(os.path.join(place, "*", "address")):
            with open(path) as file:
                if file.read().strip() == name:
                    name = os.path.basename(os.path.dirname(path))
        folder = os.path.join(place, name)
        try:
            with open(os.path.join(folder, "pid")) as file:
                pid = file.read().split()[0]
            with open(os.path.join(folder, "enter")) as file:
                words: list[str] = json.load(file)
        except OSError as error:
            raise AnsibleConnectionFailure(f"{name} does not run: {error}") from error
        if not os.path.isdir(f"/proc/{pid}"):
            raise AnsibleConnectionFailure(f"{name} does not run: process {pid} is gone")
        return words

    def _argv(self, command: str) -> list[str]:
        environment = (f"{key}={value}" for key, value in ENVIRONMENT.items())
        return [*self._enter(), "env", "-i", *environment, "/bin/sh", "-c", command]

    def _run(self, command: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
        done = subprocess.run(self._argv(command), input=data, capture_output=True)
        # Its last word: a command that is cut off (shutdown) may have said something before.
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        if done.returncode == UNREACHABLE and last.startswith("host: "):
            raise AnsibleConnectionFailure(last)
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
