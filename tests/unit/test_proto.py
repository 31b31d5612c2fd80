"""The messages of the CRI: the generated modules are those of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "src" / "trilby" / "cri" / "proto"


def test_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="protoc of the exact release is needed to compare")
    sources = sorted(str(path.relative_to(ROOT / "src")) for path in PROTO.glob("*.proto"))
    out = str(tmp_path)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={out}"]
    subprocess.run([*command, f"--pyi_out={out}", *sources], cwd=ROOT / "src", check=True)
    made = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    assert made == {path.name: path.read_text() for path in PROTO.glob("*_pb2.py*")}
    assert len(made) == 2 * len(sources), "make proto writes them"
