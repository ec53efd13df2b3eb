from celery.app.task import Task
from celery.utils.threads import _LocalStack

_task_stack: _LocalStack[Task]
