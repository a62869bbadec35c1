"""Every command with its arguments and options, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import typer

from normfed_common.cli import COMMANDS, PANELS, build
from normfed_deploy.documentation.markdown import code, prose, table

HEAD = ("", "value", "default", "meaning")


def root() -> click.Group:
    """`normfed`."""
    found = typer.main.get_command(build())
    assert isinstance(found, click.Group)
    return found


def pages() -> str:
    """Every command of ours, in the order of `normfed --help`."""
    names = [name for panel in PANELS.values() for name in panel if name in COMMANDS]
    others = [name for name in COMMANDS if name not in names and COMMANDS.origin(name) is None]
    context = click.Context(root(), info_name="normfed")
    return "\n".join(part for name in [*names, *others] for part in _command(context, name))


def _command(parent: click.Context, name: str) -> Iterator[str]:
    group = parent.command
    assert isinstance(group, click.Group)
    _, command, _ = group.resolve_command(parent, [name])
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    depth = len(context.command_path.split())
    yield f"{'#' * depth} {context.command_path}\n"
    yield f"{prose(command.help or '')}\n"
    rows = [_row(each, context) for each in command.get_params(context) if each.name != "help"]
    if rows or not isinstance(command, click.Group):
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```\n"
    if rows:
        yield table(HEAD, rows)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            yield from _command(context, each)


def _row(parameter: click.Parameter, context: click.Context) -> list[str]:
    names = [*parameter.opts, *parameter.secondary_opts]
    shown = parameter.make_metavar(context) if isinstance(parameter, click.Argument) else ", ".join(names)
    said = getattr(parameter, "help", None) or ""
    return [code(shown), "" if _is_flag(parameter) else prose(_values(parameter)), _default(parameter), prose(said)]


def _is_flag(parameter: click.Parameter) -> bool:
    return bool(getattr(parameter, "is_flag", False))


def _values(parameter: click.Parameter) -> str:
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return ", ".join(str(getattr(choice, "value", choice)) for choice in kind.choices)
    bounds: dict[str, Any] = {word: getattr(kind, end, None) for word, end in (("at least", "min"), ("at most", "max"))}
    limits = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    name = {"integer": "whole number", "integer range": "whole number", "float": "number", "float range": "number"}
    return f"{name.get(kind.name, kind.name)}{f', {limits}' if limits else ''}"


def _default(parameter: click.Parameter) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return (
        ""
        if default in (None, False, (), []) or callable(default)
        else code(str(default).lower() if default is True else str(default))
    )
