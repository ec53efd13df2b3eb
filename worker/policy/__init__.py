"""Pure decisions: no I/O, no clock, no chance. Time and chance are arguments."""
