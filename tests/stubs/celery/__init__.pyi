from celery.app.base import Celery as Celery
from celery.app.task import Task as Task
from celery.canvas import chain as chain
from celery.canvas import chord as chord
from celery.canvas import group as group
from celery.local import Proxy

current_task: Proxy[Task]
