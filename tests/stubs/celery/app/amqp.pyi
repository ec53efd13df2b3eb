from typing import Any, NamedTuple

class task_message(NamedTuple):
    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None

class AMQP:
    queues: Any
    router: Any
    def as_task_v2(
        self, task_id: str, name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> task_message: ...
