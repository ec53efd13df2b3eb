"""Clients of the servers that a worker talks to."""
