from datetime import datetime

class CPendingDeprecationWarning(PendingDeprecationWarning): ...
class TaskPredicate(Exception): ...

class Retry(TaskPredicate):
    message: str | None
    when: datetime | float | None
    def __init__(
        self, message: str | None = None, exc: BaseException | str | None = None, when: datetime | float | None = None
    ) -> None: ...

class Reject(TaskPredicate):
    reason: object
    requeue: bool
    def __init__(self, reason: object = None, requeue: bool = False) -> None: ...

class WorkerShutdown(SystemExit): ...
