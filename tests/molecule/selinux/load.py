"""Configures and loads the policy in /root/policy.33, labels what needs it, and enforces it."""

import os
import pathlib

CONFIG = pathlib.Path("/etc/selinux")
FILES = {
    "config": "SELINUX=enforcing\nSELINUXTYPE=tests\n",
    "tests/contexts/lxc_contexts": (
        'process = "system_u:system_r:container_t:s0"\n'
        'file = "system_u:object_r:container_file_t:s0"\n'
    ),
    # systemd labels what it makes by this.
    "tests/contexts/files/file_contexts": (
        "/.* system_u:object_r:host_t:s0\n"
        "/var/lib/containers(/.*)? system_u:object_r:container_var_lib_t:s0\n"
    ),
}


def main() -> None:
    for name, text in FILES.items():
        path = CONFIG / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    policy = pathlib.Path("/root/policy.33").read_bytes()
    fd = os.open("/sys/fs/selinux/load", os.O_RDWR)
    assert os.write(fd, policy) == len(policy)
    os.close(fd)
    # What comes into it later has the same type.
    store = "/var/lib/containers"
    os.makedirs(store, exist_ok=True)
    os.setxattr(store, "security.selinux", b"system_u:object_r:container_var_lib_t:s0")
    pathlib.Path("/sys/fs/selinux/enforce").write_text("1")


main()
