"""What the roles ask of a host, by one task."""

from __future__ import annotations

import os
import platform
import socket
from os.path import exists

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: node_facts
author: Trilby maintainers
version_added: 0.1.0
short_description: What the roles of this collection ask of a host
description:
  - Gathers a few facts, by the names that M(ansible.builtin.setup) and
    M(ansible.builtin.service_facts) have for them, in the time of one small task.
  - Changes nothing.
options:
  services:
    description: The units that are looked at; those that are not there are left out.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: It changes nothing, so it does all of its work in check mode.
    support: full
"""

EXAMPLES = r"""
- name: Look at the host
  trilby.node.node_facts:
    services: [trilby.service, kubelet.service]
"""

RETURN = r"""
ansible_facts:
  description: Facts, which tasks find in C(ansible_facts).
  returned: always
  type: dict
  contains:
    distribution:
      description: As in C(/etc/os-release), the first word of its name.
      type: str
      returned: always
      sample: Fedora
    service_mgr:
      description: C(systemd), or else the name of PID 1.
      type: str
      returned: always
    kernel:
      description: The release of the running kernel.
      type: str
      returned: always
    default_ipv4:
      description: Has C(address) and C(interface), those towards everybody else, if there are any.
      type: dict
      returned: always
    selinux:
      description: Has C(status), which is C(enabled) or C(disabled).
      type: dict
      returned: always
    cgroup_version:
      description: 2 where only that hierarchy is mounted, else 1.
      type: int
      returned: always
    services:
      description: By unit, its C(name), C(state) and C(status).
      type: dict
      returned: always
      sample: {trilby.service: {name: trilby.service, state: running, status: enabled}}
"""


def main():
    module = AnsibleModule(
        argument_spec={"services": {"type": "list", "elements": "str", "default": []}},
        supports_check_mode=True,
    )
    facts = {
        "distribution": distribution(),
        "service_mgr": service_manager(),
        "kernel": platform.release(),
        "default_ipv4": default_ipv4(),
        "selinux": {"status": "enabled" if exists("/sys/fs/selinux/enforce") else "disabled"},
        "cgroup_version": 2 if exists("/sys/fs/cgroup/cgroup.controllers") else 1,
        "services": services(module, module.params["services"]),
    }
    module.exit_json(ansible_facts=facts)


def distribution():
    try:
        return platform.freedesktop_os_release()["NAME"].split()[0]
    except (OSError, KeyError, IndexError):
        return platform.system()


def service_manager():
    if os.path.isdir("/run/systemd/system"):
        return "systemd"
    with open("/proc/1/comm") as file:
        return file.read().strip()


def default_ipv4():
    """The address that a packet to the outside would have; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return {}
        address = probe.getsockname()[0]
    with open("/proc/net/route") as file:
        routes = [line.split() for line in file][1:]
    # Interface, destination, gateway, flags, count, use, metric.
    ways = sorted((int(route[6]), route[0]) for route in routes if int(route[1], 16) == 0)
    return {"address": address, **({"interface": ways[0][1]} if ways else {})}


def services(module, names):
    """States as M(ansible.builtin.service_facts) calls them."""
    systemctl = module.get_bin_path("systemctl")
    if not names or systemctl is None:
        return {}
    asked = "--property=Id,LoadState,ActiveState,SubState,UnitFileState"
    status, said, _ = module.run_command([systemctl, "show", asked, *names])
    if status:
        return {}
    found = {}
    # Answers come in the order of the questions; a unit's Id may be another than it was asked by.
    for name, block in zip(names, said.strip().split("\n\n"), strict=False):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        if unit.get("LoadState") == "not-found":
            continue
        active = unit.get("ActiveState")
        state = {"active": "running", "failed": "failed"}.get(active, "stopped")
        if active == "active" and unit.get("SubState") == "exited":
            state = "stopped"
        found[name] = {
            "name": name,
            "state": state,
            "status": unit.get("UnitFileState") or "unknown",
            "source": "systemd",
        }
    return found


if __name__ == "__main__":
    main()
