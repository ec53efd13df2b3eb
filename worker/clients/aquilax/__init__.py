"""The HTTP client for AquilaX."""
