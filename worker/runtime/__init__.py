"""Celery's extension points: pool, consumer, request, boot steps and remote control."""
