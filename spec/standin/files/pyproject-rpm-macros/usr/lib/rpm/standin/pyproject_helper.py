#!/usr/bin/python3
"""What the stand-in's %pyproject_* macros call: their documented behaviour, as far as specs use it.

Runs in a build root with the Python that is packaged for, and needs packaging and installer there.
"""

import argparse
import fnmatch
import importlib
import os
import re
import sys
import tempfile
import tomllib
from email.parser import Parser
from pathlib import Path


def norm(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def rpm_version(text):
    """A PEP 440 version in RPM's spelling: 1.0rc1 sorts before 1.0."""
    from packaging.version import Version

    ver = Version(text)
    out = ".".join(map(str, ver.release))
    if ver.epoch:
        out = f"{ver.epoch}:{out}"
    if ver.pre:
        out += f"~{ver.pre[0]}{ver.pre[1]}"
    if ver.post is not None:
        out += f"^post{ver.post}"
    return out


def rpm_requirement(req):
    """One PEP 508 requirement as one RPM (maybe rich) dependency."""
    names = [norm(req.name)]
    names += [f"{norm(req.name)}[{norm(x)}]" for x in sorted(req.extras)]
    out = []
    for base in names:
        cap = f"python3dist({base})"
        terms = []
        for spec in sorted(req.specifier, key=str):
            ver = spec.version
            if spec.operator == "==" and ver.endswith(".*"):
                low = ver[:-2]
                parts = low.split(".")
                parts[-1] = str(int(parts[-1]) + 1)
                terms += [f"{cap} >= {low}", f"{cap} < {'.'.join(parts)}~~"]
            elif spec.operator == "~=":
                parts = ver.split(".")[:-1]
                parts[-1] = str(int(parts[-1]) + 1)
                terms += [f"{cap} >= {rpm_version(ver)}", f"{cap} < {'.'.join(parts)}~~"]
            elif spec.operator == "!=":
                terms.append(f"({cap} < {rpm_version(ver)} or {cap} > {rpm_version(ver)})")
            elif spec.operator in ("==", "==="):
                terms.append(f"{cap} = {rpm_version(ver)}")
            else:
                terms.append(f"{cap} {spec.operator} {rpm_version(ver)}")
        if not terms:
            out.append(cap)
        elif len(terms) == 1:
            out.append(terms[0])
        else:
            out.append("(" + " with ".join(terms) + ")")
    return out


def cmd_buildrequires(args):
    from packaging.requirements import Requirement

    wanted = []
    try:
        conf = tomllib.loads(Path("pyproject.toml").read_text())
    except FileNotFoundError:
        conf = {}
    system = conf.get("build-system", {})
    wanted += system.get("requires", ["setuptools >= 40.8"])
    wanted.append("pip >= 19")
    missing = [r for r in wanted if not installed(Requirement(r))]
    for text in wanted:
        emit(Requirement(text))
    if missing:
        print("stand-in: build backend not there yet:", missing, file=sys.stderr)
        return 0
    # the backend may want more, and it knows the metadata; its chatter goes to stderr
    backend_name, _, attr = system.get(
        "build-backend", "setuptools.build_meta:__legacy__"
    ).partition(":")
    sys.path.insert(0, os.getcwd()) if "backend-path" in system else None
    keep = os.dup(1)
    os.dup2(2, 1)
    try:
        backend = importlib.import_module(backend_name)
        for part in filter(None, attr.split(".")):
            backend = getattr(backend, part)
        more = getattr(backend, "get_requires_for_build_wheel", lambda *_: [])(None)
        meta = None
        if not args.no_runtime and all(installed(Requirement(r)) for r in more):
            with tempfile.TemporaryDirectory() as tmp:
                where = backend.prepare_metadata_for_build_wheel(tmp)
                meta = Parser().parsestr((Path(tmp) / where / "METADATA").read_text())
    finally:
        sys.stdout.flush()
        os.dup2(keep, 1)
        os.close(keep)
    for text in more:
        emit(Requirement(text))
    if meta is None:
        return 0
    extras = [x.strip() for x in (args.extras or "").split(",") if x.strip()]
    for text in meta.get_all("Requires-Dist") or []:
        req = Requirement(text)
        envs = [{"extra": ""}] + [{"extra": x} for x in extras]
        if req.marker is None or any(req.marker.evaluate(e) for e in envs):
            emit(req)
    return 0


def installed(req):
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(req.name) in req.specifier or not req.specifier
    except PackageNotFoundError:
        return False


def emit(req):
    if req.marker is not None and "extra" not in str(req.marker) and not req.marker.evaluate():
        return
    for dep in rpm_requirement(req):
        print(dep)


def cmd_install(args):
    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.sources import WheelFile

    site = f"{args.prefix}/lib/python{args.version}/site-packages"
    arch = f"{args.prefix}/lib64/python{args.version}/site-packages"
    records = []
    wheels = sorted(Path(args.wheeldir).glob("*.whl"))
    if not wheels:
        sys.exit("no wheel in " + args.wheeldir)
    for path in wheels:
        with WheelFile.open(path) as wheel:
            dest = SchemeDictionaryDestination(
                {
                    "purelib": site,
                    "platlib": arch,
                    "scripts": f"{args.prefix}/bin",
                    "data": args.prefix,
                    "headers": f"{args.prefix}/include",
                },
                interpreter="/usr/bin/python3",
                script_kind="posix",
                destdir=args.buildroot,
            )
            install(wheel, dest, additional_metadata={"INSTALLER": b"rpm\n"})
            pure = "Root-Is-Purelib: true" in wheel.read_dist_info("WHEEL")
            info = Path(args.buildroot + (site if pure else arch)) / wheel.dist_info_dir
        # RPM owns the files: no RECORD in the package, as in Fedora
        records.append(((info / "RECORD").read_text(), info))
        (info / "RECORD").unlink()
        (info / "direct_url.json").unlink(missing_ok=True)
    with open(args.record, "w") as out:
        for text, info in records:
            base = info.parent
            for line in text.splitlines():
                name = line.rsplit(",", 2)[0].strip('"')
                full = os.path.normpath(base / name)
                if not full.endswith("/RECORD"):
                    out.write("/" + os.path.relpath(full, args.buildroot) + "\n")
    for script in Path(args.buildroot + args.prefix, "bin").glob("*"):
        # `installer` would wrap an interpreter that has options in /bin/sh
        head, _, rest = script.read_bytes().partition(b"\n")
        if head == b"#!/usr/bin/python3":
            script.write_bytes(head + f" -{args.shebang_flags}\n".encode() + rest)
        print("script:", script.name, script.read_bytes().split(b"\n")[0].decode())


def cmd_save_files(args):
    paths = [Path(p) for p in Path(args.record).read_text().split("\n") if p]
    root = Path(args.buildroot)
    infos = sorted(
        {
            p.parents[
                len(p.parts)
                - 1
                - next(i for i, x in enumerate(p.parts) if x.endswith(".dist-info"))
                - 1
            ]
            for p in paths
            if any(x.endswith(".dist-info") for x in p.parts)
        }
    )
    site = infos[0].parent
    out, modules, licences, used = [], set(), 0, set()
    for info in infos:
        text = (root / str(info)[1:] / "METADATA").read_text()
        names = Parser().parsestr(text).get_all("License-File") or []
        out.append(f"%dir {info}")
        dirs = set()
        for path in paths:
            if info not in path.parents:
                continue
            rel = path.relative_to(info)
            dirs.update(p for p in rel.parents if str(p) != ".")
            lic = str(rel) in names or str(rel).removeprefix("licenses/") in names
            licences += lic
            out.append(("%license " if lic else "") + str(path))
        out += [f"%dir {info / d}" for d in sorted(dirs)]
    if args.require_license and not licences:
        sys.exit("no License-File in the metadata, and -l was given")
    dirs = set()
    for path in paths:
        if site not in path.parents or ".dist-info" in str(path):
            continue
        rel = path.relative_to(site)
        top = rel.parts[0].split(".")[0]
        hits = [g for g in args.globs if fnmatch.fnmatchcase(top, g)]
        if not hits:
            sys.exit(f"{path}: matched by none of the globs {args.globs}")
        used.update(hits)
        dirs.update(p for p in rel.parents if str(p) != ".")
        out.append(str(path))
        if path.suffix == ".py":
            dirs.add(rel.parent / "__pycache__") if str(rel.parent) != "." else None
            out.append(f"{path.parent}/__pycache__/{path.stem}.*.pyc")
            mod = ".".join(rel.with_suffix("").parts)
            modules.add(mod.removesuffix(".__init__"))
    unused = set(args.globs) - used
    if unused:
        sys.exit(f"globs that match nothing: {sorted(unused)}")
    out += [f"%dir {site / d}" for d in sorted(dirs)]
    Path(args.output).write_text("\n".join(sorted(out)) + "\n")
    Path(args.modules_output).write_text("\n".join(sorted(modules)) + "\n")


def cmd_check_import(args):
    mods = Path(args.modules).read_text().split()
    if args.top_level:
        mods = [m for m in mods if "." not in m]
    mods = [m for m in mods if not any(fnmatch.fnmatchcase(m, g) for g in args.exclude)]
    if not mods:
        sys.exit("no module to import")
    for mod in mods:
        print("import", mod)
        importlib.import_module(mod)


def main():
    top = argparse.ArgumentParser()
    sub = top.add_subparsers(required=True)
    p = sub.add_parser("buildrequires")
    p.add_argument("--no-runtime", action="store_true")
    p.add_argument("--extras")
    p.set_defaults(func=cmd_buildrequires)
    p = sub.add_parser("install")
    for o in ("wheeldir", "buildroot", "prefix", "version", "record", "shebang-flags"):
        p.add_argument("--" + o, required=True)
    p.set_defaults(func=cmd_install)
    p = sub.add_parser("save-files")
    for o in ("buildroot", "record", "output", "modules-output"):
        p.add_argument("--" + o, required=True)
    p.add_argument("--require-license", action="store_true")
    p.add_argument("globs", nargs="+")
    p.set_defaults(func=cmd_save_files)
    p = sub.add_parser("check-import")
    p.add_argument("--modules", required=True)
    p.add_argument("-t", dest="top_level", action="store_true")
    p.add_argument("-e", dest="exclude", action="append", default=[])
    p.set_defaults(func=cmd_check_import)
    args = top.parse_args()
    return args.func(args)


if __name__ == "__main__":
    sys.exit(main())
