from pathlib import Path

import click
from celery import Celery

class CLIContext:
    def __init__(self, app: Celery, no_color: bool, workdir: Path | None, quiet: bool = ...) -> None: ...

class CeleryCommand(click.Command): ...
