from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tornado.ioloop import IOLoop
from tornado.web import Application

class Flower(Application):
    capp: Any
    events: Any
    executor: ThreadPoolExecutor
    options: Any
    def __init__(
        self, options: Any = None, capp: Any = None, events: Any = None, io_loop: IOLoop | None = None, **kwargs: Any
    ) -> None: ...
