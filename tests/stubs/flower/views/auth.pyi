from typing import Any, Self

from flower.views import BaseHandler

class LoginHandler(BaseHandler):
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...

class LogoutHandler(BaseHandler): ...
