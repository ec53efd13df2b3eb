"""Other task queues, each set up for this work as its own documentation recommends.

Every one sends one GET for each event and does nothing else: no idempotency, no dead letters. A module has the queue's
application, which its workers import, and the sender.
"""
