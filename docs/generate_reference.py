"""Write the generated parts of the reference pages: ``python docs/generate_reference.py``.

Every command comes from the registry of the command line, every setting from the settings model, every
feature from its definition, so that no page can say what the code does not. What stands outside a page's
markers is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main
import yaml
from feature_catalogue import features_block
from rich.text import Text

from configs.settings import ENVIRONMENT_ONLY, PREFIX, Settings
from pipelines.cli import app

DOCS = Path(__file__).resolve().parent

SHARED_OPTIONS = {"--json", "--help"}
"""Taken by every command, and told once at the top of the page."""

COMMAND_AND_COMMENT = re.compile(r"(?P<command>\S.*?)(?: {2,}(?P<comment>\S.*))?")


def replaced(page: str, name: str, block: str) -> str:
    """Return the page with the text between its markers of that name replaced.

    Raises
    ------
    ValueError
        If the page does not have the two markers exactly once.

    >>> replaced("a <!-- begin x -->old<!-- end x --> b", "x", "new")
    'a <!-- begin x -->\\nnew\\n<!-- end x --> b'
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"expected {begin} and {end} once each")
    before, rest = page.split(begin)
    return f"{before}{begin}\n{block.strip()}\n{end}{rest.split(end)[1]}"


def commands_block() -> str:
    """Return every command: purpose, examples, arguments and options, under the panels of ``--help``."""
    panels: dict[str, list[str]] = {}
    for words, command in all_commands():
        panels.setdefault(command_panel(words), []).append(command_section(words, command))
    parts = [f"## {panel}\n\n" + "\n\n".join(sections) for panel, sections in panels.items()]
    return "\n\n".join(parts)


def all_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words of every command and the command itself; groups are opened."""
    for name, command in command_line().commands.items():
        if hasattr(command, "commands"):
            for inner, leaf in command.commands.items():
                yield (name, inner), leaf
        else:
            yield (name,), command


def command_line() -> Any:
    """Return the whole command line as Typer builds it."""
    return typer.main.get_command(app)


def command_panel(words: tuple[str, ...]) -> str:
    """Return the panel of ``tagtide --help`` a command stands in."""
    return str(command_line().commands[words[0]].rich_help_panel)


def command_section(words: tuple[str, ...], command: Any) -> str:
    """Return one command's section."""
    prose, examples = split_help(command.help)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [
        one
        for one in command.params
        if one.param_type_name == "option" and not one.hidden and not SHARED_OPTIONS & set(one.opts)
    ]
    usage = " ".join(["tagtide", *words, *(["[OPTIONS]"] if options else []), *map(placeholder, arguments)])
    parts = [f"### `{usage}`", *prose]
    if examples:
        parts.append("```sh\n" + "\n".join(examples) + "\n```")
    rows = [(f"`{placeholder(one)}`", plain(one.help)) for one in arguments]
    rows += [(f"`{option_form(one)}`", plain(one.help) + default_note(one)) for one in options]
    if rows:
        cells = [(name, text.replace("|", "\\|")) for name, text in rows]
        parts.append("\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in cells)]))
    return "\n\n".join(parts)


def split_help(text: str) -> tuple[list[str], list[str]]:
    """Return a help text's paragraphs, each one line, and its examples as shell lines.

    >>> split_help("Do it.\\n\\n\\b\\n[bold]Examples[/bold]\\n  tagtide x   at once")
    (['Do it.'], ['tagtide x   # at once'])
    """
    prose, examples = [], []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            examples += shell_lines(plain(paragraph).splitlines())
        else:
            prose.append(" ".join(plain(paragraph).split()))
    return prose, examples


def shell_lines(lines: list[str]) -> list[str]:
    """Turn a help's examples into lines a shell takes: what explains them becomes a comment.

    >>> shell_lines(["Examples", "  tagtide y --long-option", "             explained below"])
    ['tagtide y --long-option   # explained below']
    """
    pairs: list[list[str]] = []
    for line in lines:
        if not line.startswith("  "):
            continue
        if line.startswith("   ") and pairs:
            pairs[-1][1] = f"{pairs[-1][1]} {line.strip()}".strip()
            continue
        found = COMMAND_AND_COMMENT.fullmatch(line.strip())
        if found is not None:
            pairs.append([found["command"], found["comment"] or ""])
    width = max((len(command) for command, comment in pairs if comment), default=0)
    return [f"{command.ljust(width)}   # {comment}" if comment else command for command, comment in pairs]


def plain(text: str | None) -> str:
    """Return a help text as the terminal shows it, markup resolved."""
    return Text.from_markup(text or "").plain.strip()


def placeholder(argument: Any) -> str:
    """Return how an argument is written in a usage line: ``SOURCE``, ``[WHAT]...``."""
    name = str(argument.metavar or argument.name).upper().strip("[].")
    many = "..." if argument.nargs == -1 else ""
    return f"{name}{many}" if argument.required else f"[{name}]{many}"


def option_form(option: Any) -> str:
    """Return an option with the kind of its value: ``--port INTEGER``, ``--history / --no-history``."""
    names = " / ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    if option.metavar:
        return f"{names} {option.metavar}"
    kind = option.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return f"{names} {' or '.join(get_args(kind))}"
    return f"{names} {({int: 'INTEGER', float: 'NUMBER', Path: 'PATH'}).get(kind, 'TEXT')}"


def default_note(option: Any) -> str:
    """Return what an option is where it is not given, if its help does not say so."""
    if option.default in (None, "", False) or option.is_flag or "default" in option.help.lower():
        return ""
    return f" Default: {option.default}."


def settings_block() -> str:
    """Return the table of every setting."""
    defaults = yaml.safe_load((DOCS.parent / "configs" / "default.yaml").read_text(encoding="utf-8"))
    lines = ["| setting | environment variable | default | takes | meaning |", "|---|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = f"`{defaults[name]}`" if name in defaults else "none"
        takes = "text, environment only" if name in ENVIRONMENT_ONLY else accepted(field)
        meaning = str(field.description).replace("; environment only", "")
        lines.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {takes} | {meaning} |")
    return "\n".join(lines)


def accepted(field: Any) -> str:
    """Return which values a setting takes."""
    if get_origin(field.annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = {
        side: getattr(rule, side) for rule in field.metadata for side in ("ge", "le") if hasattr(rule, side)
    }
    if field.annotation is not int:
        return "text"
    least, most = (f"{bounds[side]:,}" if side in bounds else "" for side in ("ge", "le"))
    return f"{least} to {most}" if most else f"{least} or more"


PAGES = {
    "commands.md": commands_block,
    "configuration.md": settings_block,
    "features.md": features_block,
}


def generated(page: str) -> str:
    """Return a page of `PAGES` with its generated part made anew."""
    return replaced((DOCS / page).read_text(encoding="utf-8"), "generated", PAGES[page]())


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        (DOCS / page).write_text(generated(page), encoding="utf-8")
        sys.stdout.write(f"wrote {DOCS / page}\n")


if __name__ == "__main__":
    main()
