"""How it went: what was counted of all events by the minute, the quarter of an hour and the hour, for a week."""
