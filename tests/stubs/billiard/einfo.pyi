class ExceptionInfo:
    type: type[BaseException]
    exception: BaseException
    traceback: str
    internal: bool
    def __init__(self, exc_info: object = None, internal: bool = False) -> None: ...

class ExceptionWithTraceback(Exception):
    exc: BaseException
    tb: str
    def __init__(self, exc: BaseException, tb: str) -> None: ...
