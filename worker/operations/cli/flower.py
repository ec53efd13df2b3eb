"""``aquilax-feedback flower``: Flower with the *Overview* and the *Dead letters*."""

from __future__ import annotations

from importlib.util import find_spec

import click

__all__ = ["flower"]


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def flower(options: tuple[str, ...]) -> None:
    """Run Flower, with the overview and the dead letters in it.

    It is `celery -A worker flower`, and takes all of Flower's options; --help lists them.
    """
    if find_spec("flower") is None:
        raise click.ClickException("Flower is not installed: pip install 'aquilax-feedback[flower]'")
    from celery.bin.celery import celery  # noqa: PLC0415 - importing it loads every command of Celery, and Flower

    celery(args=["-A", "worker", "flower", *options], prog_name="celery", auto_envvar_prefix="CELERY")
