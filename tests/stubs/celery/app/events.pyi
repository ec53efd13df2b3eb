from typing import Any

from celery.events.dispatcher import EventDispatcher

class Events:
    Dispatcher: Any
    dispatcher_cls: str | type[EventDispatcher]
