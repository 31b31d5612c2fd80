"""Kernel modules and settings, now and at each boot, by one task."""

from __future__ import annotations

import os
import platform

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.trilby.node.plugins.module_utils.texts import Texts

DOCUMENTATION = r"""
module: kernel
author: Trilby maintainers
version_added: 0.1.0
short_description: Loads kernel modules and sets the kernel, now and at each boot
description:
  - Writes a file of C(/etc/modules-load.d) and one of C(/etc/sysctl.d), and sees that the running
    kernel is as they say.
  - A kernel without a directory of modules has them built in, or is another machine's, as in a
    container; nothing is loaded there.
options:
  modules_file:
    description: The file that loads the modules at each boot, below C(/etc/modules-load.d).
    type: path
    required: true
  settings_file:
    description: The file of the settings, below C(/etc/sysctl.d).
    type: path
    required: true
  comment:
    description: What the files begin with.
    type: str
    default: Ansible managed
  modules:
    description: Modules that are loaded.
    type: list
    elements: str
    default: []
  settings:
    description: Settings by name, as C(net.ipv4.ip_forward).
    type: dict
    default: {}
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Shows texts and settings before and afterwards.
    support: full
"""

EXAMPLES = r"""
- name: Prepare the kernel
  trilby.node.kernel:
    modules: [overlay, br_netfilter]
    modules_file: /etc/modules-load.d/node.conf
    settings_file: /etc/sysctl.d/90-node.conf
    settings:
      net.ipv4.ip_forward: 1
"""

RETURN = r"""
loaded:
  description: Modules that were loaded.
  returned: always
  type: list
  elements: str
set:
  description: Settings that were changed, as they were before.
  returned: always
  type: dict
"""


def main():
    module = AnsibleModule(
        argument_spec={
            "modules_file": {"type": "path", "required": True},
            "settings_file": {"type": "path", "required": True},
            "comment": {"type": "str", "default": "Ansible managed"},
            "modules": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    modules, settings = module.params["modules"], module.params["settings"]
    head = "".join(f"# {line}\n" for line in module.params["comment"].splitlines())
    texts = Texts(module)
    lines = "".join(f"{each}\n" for each in modules)
    texts.write(module.params["modules_file"], head + lines)
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    texts.write(module.params["settings_file"], head + lines)
    loaded = load(module, modules)
    before = set_all(module, settings, texts)
    module.exit_json(
        changed=bool(texts.paths or loaded or before), loaded=loaded, set=before, diff=texts.diff
    )


def load(module, names):
    """Load what is not there; returns the names."""
    if not os.path.isdir(f"/lib/modules/{platform.release()}"):
        return []
    there = "/sys/module/{}".format
    missing = [name for name in names if not os.path.exists(there(name.replace("-", "_")))]
    if missing and not module.check_mode:
        modprobe = module.get_bin_path("modprobe", required=True)
        for name in missing:
            module.run_command([modprobe, name], check_rc=True)
    return missing


def set_all(module, settings, texts):
    """Set what has another value; returns what it was."""
    before = {}
    for key, value in settings.items():
        path = path_of(key)
        try:
            with open(path) as file:
                now = file.read().split()
        except OSError as error:
            # A module that a dry run did not load would bring it.
            if not module.check_mode:
                module.fail_json(msg=f"the kernel has no setting {key}: {error}")
            now = []
        if now == str(value).split():
            continue
        before[key] = " ".join(now)
        texts.changed(key, f"{before[key]}\n", f"{value}\n")
        if module.check_mode:
            continue
        try:
            with open(path, "w") as file:
                file.write(f"{value}\n")
        except OSError as error:
            module.fail_json(msg=f"{key} cannot be set to {value}: {error}")
    return before


def path_of(key):
    """As sysctl(8) reads names: of dot and slash the first one separates, the other is in names."""
    dotted = "/" not in key or 0 <= key.find(".") < key.find("/")
    return "/proc/sys/" + (key.translate(str.maketrans("./", "/.")) if dotted else key)


if __name__ == "__main__":
    main()
