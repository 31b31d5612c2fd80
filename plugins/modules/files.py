"""A set of configuration files, by one task."""

from __future__ import annotations

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.trilby.node.plugins.module_utils.texts import Texts, same_json

DOCUMENTATION = r"""
module: files
author: Trilby maintainers
version_added: 0.1.0
short_description: Has a set of files and directories as they are to be
description:
  - Writes, keeps and removes small files of root, in the time of one small task.
  - A file is replaced as a whole, never written into. Directories above it are made.
options:
  files:
    description: The files, which are looked at in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where the file is, absolute.
        type: path
        required: true
      content:
        description: The text of the file. What is no text is written as JSON.
        type: raw
      state:
        description: What has to be there; with C(directory) there is no O(files[].content).
        type: str
        default: file
        choices: [file, directory, absent]
      mode:
        description: The mode in octal digits; of files else 0644, of directories 0755.
        type: str
      when:
        description: With V(false) this entry is as if it were not there.
        type: bool
        default: true
      secret:
        description: Whether a diff shows that the file changes, and not how.
        type: bool
        default: false
      compare:
        description: With V(json) another order or other spaces are no change.
        type: str
        default: text
        choices: [text, json]
      original:
        description:
          - Where the file goes that is replaced, if nothing is there yet.
          - So the first of all is kept, which a reset can put back.
        type: path
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Shows texts before and afterwards.
    support: full
"""

EXAMPLES = r"""
- name: Configure the runtime
  trilby.node.files:
    files:
      - path: /etc/crictl.yaml
        content: "{{ lookup('ansible.builtin.template', 'crictl.yaml.j2') }}"
      - path: /etc/containers/node-auth.json
        state: "{{ 'file' if credentials else 'absent' }}"
        content: "{{ credentials | trilby.node.auth_json | to_nice_json }}"
        mode: "0600"
        secret: true
"""

RETURN = r"""
paths:
  description: What changed.
  returned: always
  type: list
  elements: str
"""

ENTRY = {
    "path": {"type": "path", "required": True},
    "content": {"type": "raw"},
    "state": {"type": "str", "default": "file", "choices": ["file", "directory", "absent"]},
    "mode": {"type": "str"},
    "when": {"type": "bool", "default": True},
    "secret": {"type": "bool", "default": False},
    "original": {"type": "path"},
    "compare": {"type": "str", "default": "text", "choices": ["text", "json"]},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": ENTRY}
        },
        supports_check_mode=True,
    )
    wanted = [entry for entry in module.params["files"] if entry["when"]]
    for entry in wanted:
        refuse(module, entry)
    texts = Texts(module)
    for entry in wanted:
        if entry["state"] == "absent":
            texts.remove(entry["path"])
        elif entry["state"] == "directory":
            texts.directory(entry["path"], entry["mode"] or "0755")
        else:
            texts.write(
                entry["path"],
                text_of(entry["content"]),
                entry["mode"] or "0644",
                secret=entry["secret"],
                same=same_json if entry["compare"] == "json" else None,
                original=entry["original"],
            )
    paths = list(dict.fromkeys(texts.paths))
    module.exit_json(changed=bool(paths), paths=paths, diff=texts.diff)


def refuse(module, entry):
    """What cannot be meant is told before anything is changed."""
    path = entry["path"]
    if not path.startswith("/"):
        module.fail_json(msg=f"{path} is not absolute")
    if entry["state"] == "file" and entry["content"] is None:
        module.fail_json(msg=f"{path} has no content")


def text_of(content):
    """Releases of Ansible before 2.19 make data of a text that looks like it."""
    text = content if isinstance(content, str) else json.dumps(content, indent=4)
    return text if not text or text.endswith("\n") else text + "\n"


if __name__ == "__main__":
    main()
