"""What is wrong, and what to do about it: looks at every part of a running system, and changes none.

Start at `examination.py`. Each file beside it looks at one part. A check is a small function from what was seen to a
`Finding`; what can't be seen because something else is unavailable is no finding of its own.
"""
