"""The dashboard: an *Overview* and the *Dead letters* inside Flower, in its own navbar and look.

`worker.dashboard.install` puts it there; a page is a handler of a few lines, which asks the accounts, the dead-letter
table and the replay plans off Flower's event loop, and renders what they say.
"""
