"""The accounts: where every message is or how it ended, and whether that adds up."""

from worker.accounts.balance import Balance
from worker.accounts.keys import KEYS
from worker.accounts.snapshot import Holder, Snapshot, take_snapshot

__all__ = ["KEYS", "Balance", "Holder", "Snapshot", "take_snapshot"]
