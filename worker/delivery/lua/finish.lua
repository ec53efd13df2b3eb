-- A message has come to its end with nothing to record.
-- KEYS  1 unacked  2 unacked_index  3 unacked_held:<holder>, or unacked again if it is not known  4 counts
-- ARGV  1 delivery tag  2… what to count
-- Returns 1 if it was in flight.
return ends(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], {unpack(ARGV, 2)})
