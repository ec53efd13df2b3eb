"""The worker: delivers feedback to AquilaX, keeps what can't be delivered, and replays it.

Start reading at `worker.delivery.service`. Celery finds the app with ``celery -A worker worker``.
"""

import producer

if "FeedbackProducer" not in getattr(producer, "__all__", ()):  # which is imported when it is asked for
    # Celery would swallow the failed import, and say only that this module has no attribute `celery`.
    raise ImportError(
        f"the package `producer` is {producer.__file__}, not the one of aquilax-feedback: run the worker from another"
        " folder or in an environment of its own"
    )
