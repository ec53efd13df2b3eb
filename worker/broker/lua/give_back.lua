-- What was set aside goes to the head of its queue: all but what is under a name that keeps it.
-- KEYS  two for each list of the queue: the list, its delayed messages
-- ARGV  1 the first moment of what is set aside (ms)  2 the first one behind it  3 how many at most
--       4… the moments of the names that keep what is under them, the earliest first
-- Returns {how many went back, how many wait in the lists now}
local given, queued = 0, 0
for at = 1, #KEYS, 2 do
  local first = ARGV[1]
  for number = 4, #ARGV + 1 do
    local last = '(' .. (ARGV[number] or ARGV[2])
    local room = tonumber(ARGV[3]) - given
    if room > 0 then
      for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[at + 1], first, last, 'LIMIT', 0, room)) do
        redis.call('ZREM', KEYS[at + 1], entry)
        redis.call('RPUSH', KEYS[at], entry)
        given = given + 1
      end
    end
    first = last
  end
  queued = queued + redis.call('LLEN', KEYS[at])
end
return {given, queued}
