"""``python -m worker.cli`` is ``aquilax-feedback``."""

from worker.cli import main

main(prog_name="aquilax-feedback")
