"""Messages that wait for their time: which there are and why, and what an operator does with them before that."""
