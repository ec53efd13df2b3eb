"""The delivery of one event. Start reading in `service.py`."""
