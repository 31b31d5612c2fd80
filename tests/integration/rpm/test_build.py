"""Builds in fresh roots: other projects, prebuilt programs, equal bytes, and failures that tell."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.standin_kubernetes import MACROS

from trilby.rpm import prebuilt, prebuilt_yaml
from trilby.rpm.build import Built, Place, Source, build_in_root, build_in_tree, make_srpm
from trilby.rpm.build_root import BuildRoot
from trilby.rpm.errors import BuildFailed, InvalidSpec, MissingDependency
from trilby.rpm.prepare import prepare
from trilby.rpm.progress import Step
from trilby.rpm.repo import Repository, make_repository
from trilby.rpm.tools import Inside, Tools

# The stand-in may have to be made first.
pytestmark = pytest.mark.timeout(900)

SPEC = """\
Name: broken
Version: 1
Release: 1
Summary: Fails
License: MIT
BuildArch: noarch
%description
Fails.
%prep
%build
%install
mkdir -p %{buildroot}/usr/share/broken
touch %{buildroot}/usr/share/broken/file
%check
true first
false second
%files
/usr/share/broken/
"""
PREBUILT = """\
name: greeter
version: "2.0"
summary: Greets, built already
license: MIT
arch: noarch
files:
  - {path: /usr/bin/greet, mode: "0755"}
  - {path: /usr/bin/hi, kind: link, target: greet}
  - {path: /etc/greet.conf, source: greet.conf, kind: config}
  - {path: /usr/share/man/man1/greet.1, source: greet.1}
packages:
  - {name: greeter-data, tree: data, under: /usr/share/greeter}
"""


def sums(built: Built) -> dict[str, str]:
    paths = [Path(path) for path in (*built.packages, built.srpm)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def greeter(tmp_path: Path) -> Path:
    folder = tmp_path / "greeter"
    write(folder / "usr/bin/greet", "#!/usr/bin/sh\necho greetings\n").chmod(0o755)
    write(folder / "greet.conf", "who=world\n")
    write(folder / "greet.1", ".TH GREET 1\n")
    write(folder / "data/deep/file", "data\n")
    return write(folder / "greeter.yaml", PREBUILT)


def test_another_project_twice(hello: Path, tmp_path: Path, place: Place, work: Path) -> None:
    """It builds, installs and runs; the second build's bytes are the first one's."""
    steps: list[Step] = []
    source = prepare(str(hello), str(tmp_path / "source"))
    first = build_in_root(source, place, str(work / "one"), progress=steps.append)
    second = build_in_root(source, place, str(work / "two"))
    assert sums(first) == sums(second)
    assert [Path(path).name for path in first.packages] == ["say-hello-1.2-1.fc46.noarch.rpm"]
    titles = [step.title for step in steps]
    assert titles[0] == "build root" and "building" in titles and "%check" in titles
    assert any(step.detail.startswith("round 1:") for step in steps)
    _installed_and_run(place, work, str(work / "one"), "say-hello", "hello")


def test_prebuilt_programs(tmp_path: Path, place: Place, work: Path) -> None:
    source = prepare(str(greeter(tmp_path)), str(tmp_path / "source"))
    built = build_in_root(source, place, str(work / "out"))
    names = [Path(path).name for path in built.packages]
    assert names == ["greeter-2.0-1.fc46.noarch.rpm", "greeter-data-2.0-1.fc46.noarch.rpm"]
    root = _installed_and_run(place, work, str(work / "out"), "greeter", "greetings", "greet")
    assert root.run(["rpm", "-qc", "greeter"]).text == "/etc/greet.conf"
    assert root.run(["hi"]).text == "greetings"


@pytest.mark.parametrize("where", ["tree", "root"])
def test_units_have_scriptlets(where: str, tmp_path: Path, place: Place, work: Path) -> None:
    """systemd's macros are expanded, whoever builds; unknown ones would go into the package."""
    folder = greeter(tmp_path).parent
    write(folder / "usr/lib/systemd/system/greet.service", "[Service]\nExecStart=/usr/bin/greet\n")
    unit = "  - {path: /usr/lib/systemd/system/greet.service}\n"
    text = PREBUILT.replace("packages:\n", f"{unit}units: [greet.service]\npackages:\n")
    if where == "tree":
        # It is Debian's, and has none.
        text += f"macros: {{with_systemd: '1%{{load:{MACROS}}}'}}\n"
    source = prepare(str(write(folder / "greeter.yaml", text)), str(tmp_path / "source"))
    if where == "tree":
        shared = (str(MACROS.parent),)
        built = build_in_tree(source, place.tools, str(work / "out"), shared=shared)
    else:
        built = build_in_root(source, place, str(work / "out"))
    inside = Inside(shared=(str(work),))
    said = place.tools.run(["rpm", "-qp", "--scripts", built.packages[0]], inside).text
    assert "%systemd" not in said
    for verb in ("install", "remove", "mark-restart"):
        assert f"systemd-update-helper {verb}-system-units greet.service" in said


def test_a_tree_without_the_macros_says_so(tmp_path: Path, place: Place, work: Path) -> None:
    folder = greeter(tmp_path).parent
    packages = prebuilt_yaml.loads(f"{PREBUILT}units: [greet.service]\n", "g.yaml")
    spec = write(tmp_path / "greeter.spec", prebuilt.render(packages, folder=str(folder)))
    with pytest.raises(InvalidSpec, match="systemd-rpm-macros"):
        build_in_tree(Source(str(spec)), place.tools, str(work / "out"))


def test_rounds_of_requirements_are_no_failure(hello: Path, place: Place, work: Path) -> None:
    """The reason is the last rpmbuild's: those before ask for more, and call that an error."""
    source = prepare(str(hello), str(work / "source"))
    spec = Path(source.spec)
    text = spec.read_text().replace("%{_bindir}/say-hello", "%{_bindir}/say-goodbye")
    spec.write_text(text)
    line = 1 + text.splitlines().index("%{_bindir}/say-goodbye")
    with pytest.raises(BuildFailed, match=rf"\.spec:{line}: File not found: .*/say-goodbye"):
        build_in_root(source, place, str(work / "out"))


def test_twice_in_the_project_itself(hello: Path, place: Place, work: Path) -> None:
    """Results that are left in the project are no part of it the next time."""
    made = []
    for name in ("one", "two"):
        source = prepare(str(hello), str(work / name))
        made.append(Path(make_srpm(source, place.tools, str(hello))).read_bytes())
        made.append(Path(build_in_root(source, place, str(hello / "results")).srpm).read_bytes())
    assert made[:2] == made[2:]
    before = {path.name for path in hello.iterdir()}
    assert before == {"LICENSE", "pyproject.toml", "results", "say-hello-1.2-1.src.rpm", "src"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing(
    number: signal.Signals, hello: Path, place: Place, work: Path, tmp_path: Path
) -> None:
    """The command, in the midst of a build: its root, its mounts and its sources are gone."""
    command = [sys.executable, "-m", "trilby.cli", "rpm", "build", str(hello), "--work", place.work]
    command += ["--tools", place.tools.root, "--repo", place.repositories[0].url]
    command += ["--releasever", "46", "--results", str(work / "out")]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as build:
        assert build.stderr is not None
        for line in build.stderr:
            if "build requirements" in line:
                build.send_signal(number)
                break
        said = build.stderr.read()
    ended = (130, "interrupted") if number == signal.SIGINT else (143, "terminated")
    assert (build.returncode, said.splitlines()[-1]) == ended
    assert list(tmp_path.iterdir()) == [hello]
    assert place.work not in Path("/proc/self/mounts").read_text()


def test_without_a_repository_it_says_so(hello: Path, tools: Tools, work: Path) -> None:
    source = prepare(str(hello), str(work / "source"))
    with pytest.raises(MissingDependency, match=r"no repository to fill .*name one: --repo"):
        build_in_root(source, Place(tools=tools), str(work / "out"))


def test_one_module_of_a_setup_cfg(tmp_path: Path, place: Place, work: Path) -> None:
    """A library with no folder of its own, man page and all."""
    root = tmp_path / "one"
    write(root / "setup.cfg", "[metadata]\nname = One.File\nversion = 2.0rc1\nlicense = MIT\n"
          "description = Is one file.\n[options]\npy_modules = one_file\n")  # fmt: skip
    write(root / "one_file.py", "print('one')\n")
    write(root / "man" / "one_file.3", ".TH ONE_FILE 3\n")
    source = prepare(str(root), str(tmp_path / "source"))
    assert Path(source.spec).name == "python-one-file.spec"
    built = build_in_root(source, place, str(work / "out"))
    assert [Path(path).name for path in built.packages] == [
        "python3-one-file-2.0~rc1-1.fc46.noarch.rpm"
    ]
    listed = place.tools.run(["rpm", "-qpl", *built.packages], Inside(shared=(str(work),))).text
    assert "/usr/share/man/man3/one_file.3.gz" in listed and "site-packages/one_file.py" in listed


def _installed_and_run(
    place: Place, work: Path, results: str, package: str, said: str, command: str = ""
) -> BuildRoot:
    repository = make_repository(results, tools=place.tools)
    root = BuildRoot(
        str(work / f"root-{package}"),
        tools=place.tools,
        repositories=(*place.repositories, repository),
        release="46",
    )
    root.fill([package, "rpm"])
    assert root.run([command or package]).text == said
    assert root.run(["rpm", "-V", package]).text == ""
    return root


def test_in_a_tree_of_tools(tmp_path: Path, tools: Tools, work: Path) -> None:
    source = prepare(str(greeter(tmp_path)), str(tmp_path / "source"))
    first = build_in_tree(source, tools, str(work / "one"), srpm=True)
    second = build_in_tree(source, tools, str(work / "two"), srpm=True)
    assert sums(first) == sums(second)
    alone = Path(make_srpm(source, tools, str(work / "three")))
    assert alone.name in sums(first)
    assert list(alone.parent.iterdir()) == [alone]


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("BuildArch", "BuildArhc", InvalidSpec, r":6: Unknown tag"),
        ("%description", "BuildRequires: nothing-of-this\n%description", MissingDependency,
         r"\.spec:7: .*\n.*nothing-of-this"),
        ("true first", "true first", BuildFailed, r":16: %check failed in `false second`"),
        ("false second\n", "", None, ""),
        ("false second\n%files\n/usr/share/broken/", "%files", BuildFailed, r"unpackaged"),
        ("false second\n%files", "%files\n/usr/bin/nothing", BuildFailed, r":17: File not found"),
    ],
)  # fmt: skip
def test_failures_name_the_line(
    tmp_path: Path,
    tools: Tools,
    place: Place,
    work: Path,
    old: str,
    new: str,
    error: type[Exception] | None,
    message: str,
) -> None:
    assert old in SPEC
    spec = write(tmp_path / "broken.spec", SPEC.replace(old, new, 1))
    source = Source(str(spec))
    if error is None:
        assert build_in_root(source, place, str(work / "out")).packages
        return
    with pytest.raises(error, match=message) as caught:
        build_in_root(source, place, str(work / "out"))
    assert str(spec) in str(caught.value) and "log" in str(caught.value)


def test_a_repository_that_lacks_everything(tmp_path: Path, tools: Tools, work: Path) -> None:
    source = prepare(str(greeter(tmp_path)), str(tmp_path / "source"))
    built = build_in_tree(source, tools, str(work / "out"))
    poor = make_repository(str(Path(built.packages[0]).parent), tools=tools)
    with pytest.raises(MissingDependency, match=r"No match for argument: bash"):
        build_in_root(source, Place(tools=tools, repositories=(poor,)), str(work / "more"))


def test_a_build_has_no_network_and_no_rights(place: Place, tmp_path: Path, work: Path) -> None:
    text = SPEC.replace("true first", "test $(id -u) = 1000").replace(
        "false second", 'test "$(cd /sys/class/net && echo *)" = lo'
    )
    spec = write(tmp_path / "broken.spec", text)
    assert build_in_root(Source(str(spec)), place, str(work / "out")).packages


def test_repositories_are_equal_when_packages_are(tmp_path: Path, tools: Tools, work: Path) -> None:
    source = prepare(str(greeter(tmp_path)), str(tmp_path / "source"))
    made: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        built = build_in_tree(source, tools, str(work / name / "repo"))
        Path(built.log).unlink()
        found: Repository = make_repository(str(work / name / "repo"), tools=tools)
        files = sorted(Path(found.directory, "repodata").iterdir())
        made.append({path.name: path.read_bytes() for path in files})
    assert made[0] == made[1]
