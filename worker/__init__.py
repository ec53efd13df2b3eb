"""The worker: delivers feedback to AquilaX, keeps what can't be delivered, and replays it.

Start reading at `worker.delivery`. Celery finds the app with ``celery -A worker worker``.
"""
