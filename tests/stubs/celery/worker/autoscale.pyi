from typing import Any

class Autoscaler:
    def __init__(
        self, pool: Any, max_concurrency: int, min_concurrency: int = 0, worker: Any = None, keepalive: float = 30.0
    ) -> None: ...
    max_concurrency: int
    min_concurrency: int
