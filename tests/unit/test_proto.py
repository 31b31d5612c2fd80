"""The messages of the CRI and of NRI: the generated modules are those of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.mark.parametrize("folder", ["trilby/cri/proto", "trilby/cri/nri/proto"])
def test_generated_modules_are_up_to_date(tmp_path: Path, folder: str) -> None:
    pytest.importorskip("grpc_tools", reason="protoc of the exact release is needed to compare")
    there = SRC / folder
    sources = sorted(str(path.relative_to(SRC)) for path in there.glob("*.proto"))
    out = str(tmp_path)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={out}"]
    subprocess.run([*command, f"--pyi_out={out}", *sources], cwd=SRC, check=True)
    made = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    assert made == {path.name: path.read_text() for path in there.glob("*_pb2.py*")}
    assert len(made) == 2 * len(sources) > 0, "make proto writes them"
