"""Waits until a server answers as it should, within one task."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: http_answer
author: Trilby maintainers
version_added: 0.1.0
short_description: Waits until a server answers as it should
description:
  - Asks again and again on the host until the answer is the wanted one, ten times a second.
  - In place of M(ansible.builtin.uri) with C(until), of which each try is a task's work.
options:
  url:
    description: What is asked for, by GET. Proxies are not used.
    type: str
    required: true
  status:
    description: The wanted status; 0 is wanted when nobody is to answer.
    type: int
    default: 200
  says:
    description: A regular expression that is to be found in the answer.
    type: str
    default: ""
  timeout:
    description: How many seconds it may take.
    type: int
    default: 60
attributes:
  check_mode:
    description: It changes nothing, so it does all of its work in check mode.
    support: full
"""

EXAMPLES = r"""
- name: Wait until the kubelet is healthy
  trilby.node.http_answer:
    url: http://127.0.0.1:10248/healthz
"""

RETURN = r"""
content:
  description: The answer.
  returned: when somebody answered
  type: str
status:
  description: Its status; 0 where nobody answered.
  returned: always
  type: int
"""

PAUSE = 0.1


def main():
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "status": {"type": "int", "default": 200},
            "says": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    url, wanted = module.params["url"], module.params["status"]
    says = re.compile(module.params["says"])
    end = time.monotonic() + module.params["timeout"]
    while True:
        status, content = ask(url)
        if status == wanted and (status == 0 or says.search(content)):
            module.exit_json(changed=False, status=status, content=content)
        if time.monotonic() > end:
            break
        time.sleep(PAUSE)
    last = f"answers {status}: {content}" if status else f"does not answer: {content}"
    module.fail_json(
        msg=f"{url} {last}; wanted was {wanted or 'no answer'}", status=status, content=content
    )


def ask(url):
    """Status and text; 0 and the reason when there is no answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


if __name__ == "__main__":
    main()
