"""Clients of what is outside: AquilaX and Redis."""
