-- Take messages out of a queue: what is in flight stays.
-- KEYS  1 the queue's counts (its first list again if it is not counted)
--       then two for each of its lists: the list, its delayed messages
-- ARGV  1 how many at most: Redis is not to be kept from others for long
-- Returns how many there were.
local room = tonumber(ARGV[1])
local purged, uncounted, is_counted = 0, 0, KEYS[1] ~= KEYS[2]

local function note(entries)
  purged, room = purged + #entries, room - #entries
  for _, entry in ipairs(is_counted and entries or {}) do
    if not counted(decode(entry)) then
      uncounted = uncounted + 1 -- a foreign client's, which would have been counted when it was first handed out
    end
  end
end

for at = 2, #KEYS, 2 do
  local queued = room > 0 and redis.call('LRANGE', KEYS[at], 0, room - 1) or {}
  if #queued > 0 then
    redis.call('LTRIM', KEYS[at], #queued, -1)
  end
  note(queued)
  local delayed = room > 0 and redis.call('ZRANGE', KEYS[at + 1], 0, room - 1) or {}
  if #delayed > 0 then
    redis.call('ZREMRANGEBYRANK', KEYS[at + 1], 0, #delayed - 1)
  end
  note(delayed)
end
if is_counted and purged > 0 then
  count(KEYS[1], 'purged', purged)
  if uncounted > 0 then
    count(KEYS[1], 'accepted', uncounted)
  end
end
return purged
