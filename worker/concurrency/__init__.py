"""Cooperative concurrency: how a blocked task yields to the others in its thread."""
