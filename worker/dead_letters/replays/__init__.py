"""Replay plans: dead letters go back into the queue, in the background, and each one's outcome is written down.

`planning.create` freezes the rows in the database. Workers advance the plan step by step (`step.py`), and
resume it wherever it was left. `policy.py` decides the next step.
"""
