from threading import Lock

class LamportClock:
    value: int
    mutex: Lock
    def forward(self) -> int: ...
