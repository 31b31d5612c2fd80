"""What is given becomes a spec and its sources: a Python project, or a YAML with a folder."""

from __future__ import annotations

import os

from trilby.rpm import prebuilt, prebuilt_yaml
from trilby.rpm.build import Source
from trilby.rpm.errors import InvalidProject
from trilby.rpm.project import Project, load_project
from trilby.rpm.source import files_of, pack
from trilby.rpm.spec import Options, render_spec, source_name, template_of

__all__ = ["prepare", "spec_text"]

_YAML = (".yaml", ".yml")


def spec_text(given: str, options: Options | None = None, *, template: str = "") -> str:
    """The spec of a project's directory or a prebuilt package's YAML; raises as prepare()."""
    if given.endswith(_YAML):
        return prebuilt.render(prebuilt_yaml.load(given))
    return render_spec(_project(given, options), options, template=template)


def prepare(
    given: str,
    directory: str,
    options: Options | None = None,
    *,
    folder: str = "",
    template: str = "",
) -> Source:
    """Write the spec and the source archive into a directory.

    ``given`` is a project's directory, or a YAML as prebuilt has it; the programs of the latter are
    in ``folder``, without it beside the YAML. A project that has its own template gets the spec
    that is checked in beside it, if they are the same: errors then name that file.

    Raises InvalidProject, InvalidSpec, ToolMissing without jinja2, and OSError.
    """
    os.makedirs(directory, exist_ok=True)
    text = spec_text(given, options, template=template)
    if given.endswith(_YAML):
        package = prebuilt_yaml.load(given)
        top = f"{package.name}-{package.version}"
        archive = os.path.join(directory, f"{top}.tar.gz")
        folder = os.path.abspath(folder or os.path.dirname(os.path.abspath(given)))
        prebuilt_yaml.check_folder(package, folder, given)
        pack(folder, archive, top=top)
        return Source(_write(directory, f"{package.name}.spec", text), (archive,))
    project = _project(given, options)
    top = f"{project.name}-{project.version}"
    files = files_of(project.directory)
    if files and os.path.basename(project.source) not in files:
        raise InvalidProject(f"{project.source}: git does not track it", hint="git add it")
    archive = os.path.join(directory, f"{top}.tar.gz")
    pack(project.directory, archive, top=top, files=files)
    own = (template or template_of(project)).removesuffix(".in")
    if own and os.path.exists(own):
        with open(own, encoding="utf-8") as file:
            if file.read() == text:
                return Source(own, (archive,))
    name = os.path.basename(own) or f"{source_name(project)}.spec"
    return Source(_write(directory, name, text), (archive,))


def _project(given: str, options: Options | None) -> Project:
    if not os.path.isdir(given):
        raise InvalidProject(
            f"{given} is neither a project's directory nor a YAML",
            hint="name a directory with setup.cfg or pyproject.toml, or a .yaml",
        )
    return load_project(given, version=options.version if options else "")


def _write(directory: str, name: str, text: str) -> str:
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path
