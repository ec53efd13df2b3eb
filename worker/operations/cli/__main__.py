"""``python -m worker.operations.cli`` is ``aquilax-feedback``."""

from worker.operations.cli import main

main(prog_name="aquilax-feedback")
