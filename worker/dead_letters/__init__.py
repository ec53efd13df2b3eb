"""Dead letters: record, query, discard and prune; and their replays."""
