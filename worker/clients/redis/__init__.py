"""Connections to Redis, its clock, and scripts."""
