-- A probe was answered: hand out again, unless an operator holds.
-- KEYS  1 hold (as in begin_hold.lua)
-- Returns 1 if a hold ends with this.
if redis.call('HGET', KEYS[1], 'kind') == 'operator' then
  for _, name in ipairs({'kind', 'comment', 'since', 'actor', 'probes'}) do
    redis.call('HDEL', KEYS[1], 'beneath_' .. name)
  end
  return 0
end
return redis.call('DEL', KEYS[1])
