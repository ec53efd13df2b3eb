"""The dashboard: an *Overview* and the *Dead letters* inside Flower, in its own navbar and look.

`install.py` puts it there; a page is a handler of a few lines, which reads the accounting, the dead-letter table and
the replay plans off Flower's event loop, and renders the result.
"""
