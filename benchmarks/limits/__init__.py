"""What no queue can beat: the bare command to Redis, and the bare request to AquilaX."""
