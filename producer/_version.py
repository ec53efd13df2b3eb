"""The release: the one place that says it; the build, the commands and the documents read it from here."""

__all__ = ["__version__"]

__version__ = "0.1.0"
