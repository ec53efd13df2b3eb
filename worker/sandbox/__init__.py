"""A local AquilaX: it keeps the contract of the feedback API, and misbehaves on request.

Start at `worker.sandbox.contract`: it reads one request and says what is answered. `faults` describes the
misbehaviour, `received` remembers what came, `api` and `control` put both on HTTP, `client` asks for them.
"""

__all__: list[str] = []
