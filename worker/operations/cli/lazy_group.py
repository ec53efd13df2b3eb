"""A group of commands, each of which is imported when it is called, and not before."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LazyCommand", "LazyGroup"]


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and what the list of its group says of it.

    Attributes:
        where: As ``module:attribute``.
        summary: The first paragraph of its help.
    """

    where: str
    summary: str


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called: what one needs costs no other its start.

    Args:
        lazy: Each command, by its name.
        options: click's.
    """

    def __init__(self, *, lazy: Mapping[str, LazyCommand], **options: Any) -> None:
        super().__init__(**options)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Return the names."""
        return sorted(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the signature is click's
        """Import a command; None if there is none of this name."""
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name].where.partition(":")
        with _uncollected():
            command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of the commands, as click does, and import none of them."""
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names))
        commands = {name: click.Command(name, help=self.lazy[name].summary) for name in names}
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(room)) for name, command in commands.items()])


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import without looking for garbage: a tenth of the time would go into it, and what modules hold stays anyway."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
