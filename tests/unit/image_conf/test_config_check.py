"""All complaints about all files, at once."""

from __future__ import annotations

from pathlib import Path

from trilby.image.config_check import check_files


def test_every_file_is_read(tmp_path: Path) -> None:
    files = {
        "r.conf": "typo = 1\n",
        "d/x.yaml": "docker:\n  q.io:\n    look: x\n",
        "policy.json": '{"default": []}',
        "auth.json": '{"auths": {"q.io": {"auth": "%"}}}',
        "none/x": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def check() -> list[str]:
        return check_files(
            registries_conf=str(tmp_path / "r.conf"),
            registries_conf_dir=str(tmp_path / "none"),
            registries_d=str(tmp_path / "d"),
            policy=str(tmp_path / "policy.json"),
            authfile=str(tmp_path / "auth.json"),
            env={"HOME": str(tmp_path)},
        )

    found = [complaint.removeprefix(f"{tmp_path}/") for complaint in check()]
    assert [complaint.partition(" ")[0] for complaint in found] == [
        "r.conf:1:",
        "d/x.yaml:3:",
        "policy.json:1:",
        "auth.json:1:",
    ]
    (tmp_path / "r.conf").write_text("")
    (tmp_path / "d/x.yaml").write_text("")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "reject"}]}')
    (tmp_path / "auth.json").write_text("{}")
    assert check() == []
