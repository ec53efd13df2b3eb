-- An operator holds, whatever else does: no probes, until an operator resumes.
-- KEYS  1 hold (as in begin_hold.lua)
-- ARGV  1 reason  2 by
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'kind', 'operator', 'reason', ARGV[1], 'by', ARGV[2], 'probes', 0, 'since', now_ms())
