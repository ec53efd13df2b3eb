"""The workers of the fleet: what each is, holds and consumes, and what an operator tells it."""
