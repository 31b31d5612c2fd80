"""The options of trilby.conf in words, out of their declarations: trilby.conf(5).

``python -m trilby.cli.manpage_conf`` prints the table of docs/OPERATIONS.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from trilby.cli.manpage_roff import Page, bold, italic
from trilby.cri.config_load import all_options
from trilby.cri.config_text import limits_text
from trilby.pods.config_load import DEFAULT_FILE, VENDOR_FILE
from trilby.pods.config_option import Declared
from trilby.pods.config_values import toml_text


def tables() -> dict[str, list[Declared]]:
    """Table -> its options, in the order of the documents."""
    found: dict[str, list[Declared]] = {}
    for declared in all_options().values():
        found.setdefault(declared.option.table, []).append(declared)
    return found


def default_text(declared: Declared) -> str:
    """The default as a person writes it, or in words where the host decides."""
    return declared.option.otherwise or toml_text(declared.default, declared.kind)


def meaning_text(declared: Declared) -> str:
    """What the option means, and what it may be."""
    limits = "" if declared.enum else limits_text(declared)
    return f"{declared.option.meaning} {limits}".rstrip()


def markdown() -> str:
    """The table of docs/OPERATIONS.md."""
    return "\n".join(_markdown())


def _markdown() -> Iterator[str]:
    for table, options in tables().items():
        yield f"`[{table}]`\n"
        yield "| option | type | default | takes effect | meaning |\n|---|---|---|---|---|"
        for each in options:
            default = default_text(each)
            if not each.option.otherwise:
                default = f"`{default}`"
            cells = [f"`{each.option.name}`", each.kind, default, each.option.scope]
            yield f"| {' | '.join(cells)} | {meaning_text(each)} |"
        yield ""


def conf_page(version: str) -> str:
    """The page trilby.conf(5)."""
    page = Page("trilby.conf", 5, version)
    page.section("NAME")
    page.line(r"trilby.conf \- settings of the CRI daemon and of the pod engine")
    page.section("SYNOPSIS")
    page.line(f"{italic(DEFAULT_FILE)}, {italic(DEFAULT_FILE + '.d/*.conf')}")
    _description(page)
    for table, options in tables().items():
        page.section(f"TABLE [{table}]")
        for each in options:
            page.item(
                f"{bold(each.option.name)} = {italic(each.kind)}",
                meaning_text(each),
                f"Default: {default_text(each)}. Takes effect: {each.option.scope}.",
            )
    page.section("EXAMPLES")
    page.paragraph("The runtime of pods, and a limit for the size of logs:")
    page.verbatim(["[trilby.runtime]", 'default_runtime = "runc"', "log_size_max = 10485760"])
    page.paragraph("A further runtime handler:")
    page.verbatim(["[trilby.runtime.runtimes.youki]", 'runtime_path = "/usr/bin/youki"'])
    page.paragraph("Images that stay, and metrics:")
    page.verbatim(["[trilby.image]", 'pinned_images = ["registry.example.com/base/*"]'])
    page.verbatim(["[trilby.metrics]", "enable_metrics = true"])
    page.section("FILES")
    page.item(italic(DEFAULT_FILE), "The main file; it may be missing.")
    page.item(italic(f"{DEFAULT_FILE}.d/*.conf"), "Drop-ins, in the order of their names.")
    page.item(
        f"{italic(VENDOR_FILE)}, {italic(VENDOR_FILE + '.d/*.conf')}",
        "What the distribution says, read before; a drop-in of the same name replaces its own.",
    )
    page.section("SEE ALSO")
    page.references(
        [
            *("trilbyd(8)", "trilby(1)", "trilby-config(1)", "trilby-pod(1)"),
            *("crio.conf(5)", "conmon(8)"),
        ]
    )
    return page.text()


def _description(page: Page) -> None:
    page.section("DESCRIPTION")
    page.paragraph(
        f"A TOML file. The distribution's file is read first, then {DEFAULT_FILE}, then the"
        " drop-ins of both that end in .conf, in the order of their names; all may be missing. A"
        " later value of an option replaces an earlier one, lists too. With --config FILE the"
        " files are FILE, which must exist, and FILE.d/*.conf."
    )
    page.paragraph(
        "Options have the names that CRI-O gives to the same meaning, under another root table."
        " An unknown option is a warning, and a mistake for trilby-config-check(1); a value of the"
        " wrong type or out of its range is an error with file, line and column. Maps are written"
        " as lists of `name=value`. A duration is a text as `90s` or `1h30m`, or a number of"
        " seconds; a file mode is a text of octal digits, as `0660`."
    )
    page.paragraph(
        "The daemon reads the files again on SIGHUP and at `trilby config reload`. If anything is"
        " wrong nothing is changed. Otherwise options that are `live` count at once, those for"
        " `new pods` for what is made from then on, and those with `restart` when the daemon is"
        " started again."
    )
    page.paragraph(
        "The commands `trilby pod` without a daemon read the tables trilby.runtime and"
        " trilby.network. Flags of trilby(1) that name the same thing override the files."
    )


if __name__ == "__main__":
    print(markdown())
