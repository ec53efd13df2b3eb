-- Lay the messages of a plan at the back of their queue and count them as accepted: each row once, however often.
-- KEYS  1 the queue's list  2 the hash of its counts  3 the set of the plan's rows that have gone
-- ARGV  1 seconds for which the set is kept from now on  then two for each row: its id, its message
-- Returns the ids that are withheld: the plan has ended, and they never go.
local ids, messages = {}, {}
for at = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
  messages[#messages + 1] = ARGV[at + 1]
end
local gone, withheld, new, new_ids = redis.call('SMISMEMBER', KEYS[3], unpack(ids)), {}, {}, {}
for at, id in ipairs(ids) do
  if redis.call('SISMEMBER', KEYS[3], '-' .. id) == 1 then
    withheld[#withheld + 1] = id
  elseif gone[at] == 0 then
    new[#new + 1] = messages[at]
    new_ids[#new_ids + 1] = id
  end
end
if #new > 0 then
  -- A script that fails undoes nothing: what is refused is refused before the messages are there, or undone.
  redis.call('HINCRBY', KEYS[2], 'accepted', #new)
  local noted = redis.pcall('SADD', KEYS[3], unpack(new_ids))
  local queued = type(noted) == 'table' and noted or redis.pcall('LPUSH', KEYS[1], unpack(new))
  if type(queued) == 'table' then
    redis.call('HINCRBY', KEYS[2], 'accepted', -#new)
    if type(noted) ~= 'table' then
      redis.call('SREM', KEYS[3], unpack(new_ids))
    end
    return queued
  end
end
redis.call('EXPIRE', KEYS[3], ARGV[1])
return withheld
