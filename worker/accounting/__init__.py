"""The accounts: where every message is or how it ended, and whether that adds up."""

from worker.accounting.balance import Balance
from worker.accounting.snapshot import LeaseHolder, Snapshot, take_snapshot

__all__ = ["Balance", "LeaseHolder", "Snapshot", "take_snapshot"]
