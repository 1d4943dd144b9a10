"""Write those pages of ``docs/reference/`` that the code itself can tell: ``make docs``.

    python tools/reference.py            write them
    python tools/reference.py --check    1, with the names, if any is not what the code says

The command line, the options of built-in components, the configuration, the hooks and the exit codes are described
where they are declared, and nowhere else; ``tests/test_docs.py`` compares.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import click  # noqa: E402
from contracts import contracts_page  # noqa: E402
from guarantees import guarantees_page  # noqa: E402
from hooks import hooks_page  # noqa: E402
from suites import suites_page  # noqa: E402

from queuectl.api import errors  # noqa: E402
from queuectl.api.providers import REQUIRED, Option, Provider  # noqa: E402
from queuectl.cli import COMMANDS, group  # noqa: E402
from queuectl.core import plugins, schema  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by `make docs` from the code. Change it there. -->\n"


# --- The command line ---------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its help and its options."""
    lines = [
        "# The command line",
        "",
        MADE,
        "Results go to stdout, everything else to stderr. Every command takes `-h`, and `--config FILE` and",
        "`--db PATH` before or after its name; every one that shows something takes `--json`.",
        "[Exit codes](exit-codes.md) and the [shapes of what `--json` prints](json.md) have pages of their own.",
        "",
    ]
    for path, command in commands():
        lines += command_section(path, command)
    return "\n".join(lines)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that is built in, those inside groups after their group."""
    cli = group()
    context = click.Context(cli, info_name="queuectl")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None:
            yield from below(name, command)


def below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            if not sub.hidden:
                yield from below(f"{path} {name}", sub)


def command_section(path: str, command: click.Command) -> list[str]:
    """A command: heading, help with its examples, and a table of its options."""
    lines = [f"## queuectl {path}", ""]
    pieces = [
        param.make_metavar(click.Context(command)) for param in command.params if isinstance(param, click.Argument)
    ]
    usage = "COMMAND …" if isinstance(command, click.Group) else " ".join(["[OPTIONS]", *pieces])
    lines += ["```", f"queuectl {path} {usage}", "```", "", *help_of(command), ""]
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    rows = [option_row(option) for option in options if option.opts[0] not in ("--config", "--db")]
    if rows:
        lines += ["| option | |", "|---|---|", *rows, ""]
    return lines


def help_of(command: click.Command) -> list[str]:
    """A help text as Markdown: what click leaves unwrapped (a paragraph that begins with ``\\b``) becomes code."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    lines: list[str] = []
    for paragraph in paragraphs:
        if paragraph.lstrip().startswith("\b"):
            body = inspect.cleandoc(paragraph.replace("\b", "").strip("\n"))
            lines += ["```", body, "```", ""]
        else:
            lines += [paragraph.replace("<", "\\<"), ""]
    return lines[:-1]


def option_row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    metavar = option.metavar or (
        "" if option.is_flag or option.count else WORDS.get(option.type.name, option.type.name.upper())
    )
    return f"| {names}{f' {metavar}' if metavar else ''} | {cell(option.help or '')} |"


WORDS = {"integer": "N", "integer range": "N", "float": "N", "float range": "N"}


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- The configuration ----------------------------------------------------------------------------

CONFIG_HEAD = """\
TOML, in tables. Every key is checked, and an unknown one is an error that names the nearest known. Every value can also
come from the environment: `QUEUECTL_JOBS__TIMEOUT=60`, `QUEUECTL_STORAGE__SQLITE__PATH=…`. From the highest to the
lowest:

1. a flag of the command;
2. a `QUEUECTL_*` variable;
3. the store file, `PATH.toml` beside the database that `--db PATH` names;
4. the project file: `--config FILE` or `QUEUECTL_CONFIG`, else the nearest `queuectl.toml` upward, as far as the
   repository's root or the home directory;
5. the user file, `~/.config/queuectl/config.toml`;
6. the default.

`--db PATH` (`QUEUECTL_DB`) chooses SQLite at that path, whatever the files say. Spans are seconds, or texts
like `"1h30m"`; sizes are bytes, or texts like `"10 MiB"`; `"none"` is the answer where a number may be missing. A
relative path in a file is relative to that file. A secret may stand elsewhere: `{ env = "NAME" }` or
`{ file = "path" }`.
"""


def config_page() -> str:
    """Every table with its keys, defaults and bounds."""
    lines = ["# The configuration", "", MADE, CONFIG_HEAD]
    for name, options in schema.SECTIONS.items():
        lines += table_section(f"[{name}]", f"{vars(schema)[SECTION_RECORDS[name]].__doc__}", options)
    lines += table_section("[queues.NAME]", f"{schema.QueueConfig.__doc__}", schema.QUEUE_OPTIONS)
    lines += table_section("[routes.NAME]", f"{schema.RouteConfig.__doc__}", schema.ROUTE_OPTIONS)
    lines += [
        "# Components",
        "",
        'A table `[KIND.NAME]` configures the instance `NAME`; `use = "PROVIDER"` says of what, if the name does not.',
        "",
    ]
    for kind, provider in providers():
        lines += table_section(
            f"[{kind}.{provider.name}]", f"{provider.summary[:1].upper()}{provider.summary[1:]}.", provider.options
        )
        if provider.job_options:
            names = ", ".join(f"`{option.name}`" for option in provider.job_options)
            lines += [f"A job may ask for {names} itself, by `{kind}_options`.", ""]
    lines += [
        "# Plugins' own tables",
        "",
        "`[plugin.NAME]` has the keys that the plugin `NAME` declares by `queuectl_options`.",
        "",
    ]
    return "\n".join(lines)


SECTION_RECORDS = {
    "queuectl": "Main",
    "jobs": "Jobs",
    "worker": "Worker",
    "output": "Output",
    "outbox": "Outbox",
    "dashboard": "Dashboard",
    "plugins": "PluginsConfig",
}


def providers() -> Iterator[tuple[str, Provider[object]]]:
    """The built-in components, with their kind."""
    for (kind, name), module in plugins.BUILTIN.items():
        for provider in plugins.offered(plugins.load_object(module), plugins.OFFERS[kind]):
            if provider.name == name:
                yield kind, provider


def table_section(title: str, about: str, options: tuple[Option, ...]) -> list[str]:
    """A table: what it is for, and a row for each key."""
    about = re.sub(r"^``\[[^`]*``: ", "", about.replace("``None``", "None"))
    lines = [f"## {title}", "", about[:1].upper() + about[1:], ""]
    if options:
        lines += ["| key | type | default | |", "|---|---|---|---|"]
        lines += [f"| `{o.name}` | {TYPES[o.type]}{bounds(o)} | {default_of(o)} | {cell(o.help)} |" for o in options]
        lines.append("")
    return lines


TYPES = {str: "text", int: "integer", float: "number", bool: "true or false", list: "list", dict: "table"}


def bounds(option: Option) -> str:
    if option.choices:
        return ": " + ", ".join(f"`{choice}`" for choice in option.choices)
    low, high = option.minimum, option.maximum
    if low is None and high is None:
        return ""
    return f", {'…' if low is None else f'{low:,g}'} to {'…' if high is None else f'{high:,.15g}'}"


def default_of(option: Option) -> str:
    if option.default is REQUIRED:
        return "must be given"
    if option.default is None or option.default in ("", (), []):
        return "none"
    if isinstance(option.default, (tuple, list)):
        return ", ".join(f"`{item}`" for item in option.default)
    if isinstance(option.default, bool):
        return f"`{str(option.default).lower()}`"
    return f"`{option.default:g}`" if isinstance(option.default, float) else f"`{option.default}`"


# --- Exit codes ---------------------------------------------------------------------------------

OTHER_CODES = {
    0: "It was done.",
    1: "It was done, and the answer is no: a waited-for job died, `--until-empty` saw one of its own jobs die, "
    "`doctor` found an error, somebody said no when asked.",
    2: "The command line cannot be understood.",
    130: "Interrupted with Ctrl-C.",
    141: "Whoever read the output went away (`… | head`).",
}

NEVER_EXITED_WITH = {errors.StartFailed}  # it becomes an outcome of the job


def exit_page() -> str:
    """Every exit code, and the errors that carry it."""
    codes: dict[int, list[type[errors.QueueCTLError]]] = {code: [] for code in OTHER_CODES}
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, errors.QueueCTLError) and value not in NEVER_EXITED_WITH:
            codes.setdefault(value.exit_code, []).append(value)
    lines = ["# Exit codes", "", MADE, "| code | means | error |", "|---|---|---|"]
    for code in sorted(codes):
        kinds = codes[code]
        means = OTHER_CODES.get(code) or first_line(kinds[0])
        also = [first_line(kind) for kind in kinds if first_line(kind) != means]
        names = ", ".join(f"`{kind.__name__}`" for kind in kinds)
        lines.append(f"| {code} | {' '.join([means, *also])} | {names} |")
    lines += [
        "",
        "`queuectl run` exits with the code of its command: 128 + n for signal n, 124 for a timeout.",
        "",
        "Every error is one sentence on stderr. With `QUEUECTL_DEBUG=1` there is a traceback as well.",
        "",
        "In Python the errors are in `queuectl.api.errors`; the class carries the code as `exit_code`.",
        "",
    ]
    return "\n".join(lines)


def first_line(kind: type[errors.QueueCTLError]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0].replace("``", "`")


# --- All of them --------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "config.md": config_page,
    "hooks.md": lambda: hooks_page(MADE),
    "contracts.md": lambda: contracts_page(MADE),
    "suites.md": lambda: suites_page(MADE),
    "exit-codes.md": exit_page,
    "guarantees.md": lambda: guarantees_page(MADE),
}


def main() -> int:
    """Write the pages, or say which differ."""
    options = argparse.ArgumentParser(description="Write the pages of docs/reference that the code can tell.")
    options.add_argument("--check", action="store_true", help="write nothing; 1 if a page is not what the code says")
    check = options.parse_args().check
    stale = stale_pages()
    if not check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in stale.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/reference/{name} {'is not what the code says: run make docs' if check else 'written'}")
    return int(check and bool(stale))


def stale_pages() -> dict[str, str]:
    """The pages that are not what the code says, and what they should be."""
    made = {name: re.sub(r"\n{3,}", "\n\n", make().rstrip() + "\n") for name, make in PAGES.items()}
    return {
        name: text
        for name, text in made.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    }


if __name__ == "__main__":
    sys.exit(main())
