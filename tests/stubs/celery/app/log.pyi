from typing import Any

from celery.app.base import Celery

class Logging:
    def __init__(self, app: Celery) -> None: ...
    def setup_logging_subsystem(
        self, loglevel: int | str | None = None, logfile: str | None = None, **kwargs: Any
    ) -> Any: ...
