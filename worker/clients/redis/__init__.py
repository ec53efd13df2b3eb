"""Redis as the worker's parts use it: many tasks' scripts in one round trip."""
