"""The static pod of the scenarios: waits until its kubelet calls it ready, and asks it."""

from __future__ import annotations

import json
import time
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: web_ready
author: Trilby maintainers
short_description: Waits until the static pod web is ready, and asks it
description:
  - Asks the kubelet's read-only port for its pods until web is ready, and then asks web itself on
    its address and on each of the given ones.
options:
  says:
    description: What the pod has to answer.
    type: str
    required: true
  addresses:
    description: Addresses of the host where it has to answer as well.
    type: list
    elements: str
    default: []
  timeout:
    description: How many seconds it may take.
    type: int
    default: 60
"""

RETURN = r"""
ip:
  description: The pod's address.
  returned: always
  type: str
"""

PAUSE = 0.2


def main():
    module = AnsibleModule(
        argument_spec={
            "says": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    end = time.monotonic() + module.params["timeout"]
    while True:
        try:
            ip = ready()
            for address in (ip, *module.params["addresses"]):
                said = ask(f"http://{address}:8080/").strip()
                if said != module.params["says"]:
                    module.fail_json(msg=f"{address} says {said!r}", ip=ip)
            module.exit_json(changed=False, ip=ip)
        except (OSError, ValueError, LookupError) as error:
            if time.monotonic() > end:
                module.fail_json(msg=f"the static pod is not ready: {error}")
            time.sleep(PAUSE)


def ready():
    """Its address; LookupError when it is not ready."""
    for pod in json.loads(ask("http://127.0.0.1:10255/pods"))["items"] or []:
        if pod["metadata"]["name"].startswith("web-"):
            conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
            if conditions.get("Ready") == "True":
                return pod["status"]["podIP"]
            raise LookupError(f"its conditions are {conditions}")
    raise LookupError("the kubelet has no such pod")


def ask(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return answer.read().decode()


if __name__ == "__main__":
    main()
