from typing import Any

from celery.app.base import Celery
from celery.concurrency.base import BasePool
from celery.platforms import Pidfile
from celery.worker.autoscale import Autoscaler
from celery.worker.consumer import Consumer

class WorkController:
    app: Celery
    autoscale: tuple[int, int] | None
    autoscaler: Autoscaler | None
    consumer: Consumer
    hostname: str
    pidlock: Pidfile | None
    pool: BasePool
    pool_cls: type[BasePool]
    steps: list[Any]
