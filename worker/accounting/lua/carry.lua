-- Carry the totals of data that was lost on, once.
-- KEYS  1 counts
-- ARGV  1 a number that names the loss  2 the generation that is carried on ('' if it is this one)
--       3… a field and by how much, again and again
-- Returns 1 if they were carried on, 0 if they had been.
if redis.call('HGET', KEYS[1], 'carried') == ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'carried', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'carried_from', ARGV[2])
end
for at = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
end
return 1
