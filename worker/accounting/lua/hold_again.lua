-- A hold by hand that Redis has lost stands again, unless an operator has changed it since.
-- KEYS  1 hold  2 counts
-- ARGV  1 comment  2 actor  3 the number of the change that it was  4 since when (ms)
-- Returns 1 if it stands again.
if tonumber(redis.call('HGET', KEYS[2], 'hold_changes') or 0) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[2], 'hold_changes', ARGV[3])
if redis.call('HGET', KEYS[1], 'kind') ~= 'operator' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'kind', 'operator', 'comment', ARGV[1], 'actor', ARGV[2], 'probes', 0, 'since', ARGV[4])
end
return 1
