"""Cooperative concurrency: many deliveries in one thread, and what must not block them in threads of its own.

Code that may run under a scheduler asks for it with `scheduler.current_scheduler`, and knows nothing of gevent: the
other pools of Celery run the same code in threads and processes, without a scheduler. `gevent_scheduler` is the only
implementation, and the only module that imports gevent.
"""
