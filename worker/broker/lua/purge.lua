-- Empty a queue: what is in hand stays.
-- KEYS  1 the queue's counts ('' if it is not counted), then two for each of its lists: the list, its delayed messages
-- Returns how many messages there were.
local purged, uncounted = 0, 0

local function note(entries)
  for _, entry in ipairs(entries) do
    purged = purged + 1
    if KEYS[1] ~= '' and not string.find(entry, '"feedback": {"v": 2', 1, true)
      and not string.find(entry, '"redelivered": true', 1, true) then
      uncounted = uncounted + 1 -- a foreign client's, which is counted when it is first handed out
    end
  end
end

for at = 2, #KEYS, 2 do
  while true do
    local entries = redis.call('LRANGE', KEYS[at], 0, 999)
    if #entries == 0 then
      break
    end
    note(entries)
    redis.call('LTRIM', KEYS[at], #entries, -1)
  end
  while true do
    local entries = redis.call('ZRANGE', KEYS[at + 1], 0, 999)
    if #entries == 0 then
      break
    end
    note(entries)
    redis.call('ZREMRANGEBYRANK', KEYS[at + 1], 0, #entries - 1)
  end
end
if KEYS[1] ~= '' and purged > 0 then
  redis.call('HINCRBY', KEYS[1], 'purged', purged)
  redis.call('HINCRBY', KEYS[1], 'accepted', uncounted)
end
return purged
