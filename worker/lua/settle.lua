-- A message has come to its end: it leaves the worker's hand, and is counted, once.
-- KEYS  1 unacked  2 unacked_index  3 counts
-- ARGV  1 delivery tag  2… what to count
-- Returns 1 if it was in hand. If not, its lease has ended: it is counted where it comes to its end again.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
for at = 2, #ARGV do
  redis.call('HINCRBY', KEYS[3], ARGV[at], 1)
end
return 1
