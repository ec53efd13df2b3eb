"""Notifications: an operator is told once of what needs attention, wherever they are.

START HERE: `worker.notifications.notifier`. One worker of the fleet takes a round every ten seconds: it looks at the
queue, the dead letters and the replays (`observation`), compares that with what is known (`conditions`, `episodes`),
gathers what is new into messages (`grouping`), and sends these (`outbox`, `sending`). What is known is one value in
Redis (`state`, `store`).
"""
