"""Where ``celery -A worker`` finds the app."""

from __future__ import annotations

from worker.app import create_app
from worker.operations.dashboard.flower_hook import hook
from worker.settings import SettingsError

__all__ = ["app"]

try:
    app = create_app()
except SettingsError as error:
    raise SystemExit(f"aquilax-feedback: wrong settings\n{error}") from None

hook()
