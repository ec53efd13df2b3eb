-- Take messages out of a place, on their way to another Redis: they wait in a parcel until they have arrived there.
-- KEYS  1 the list, or the delayed messages  2 the parcel  3 the queue's counts (1 again if it is not counted)
-- ARGV  1 how many at most  2 a name for the parcel
-- Returns the parcel: its name, its place, '1' if that is of delayed messages, then two for each message: when it is due,
--         and the message. A parcel that was left behind is returned first. {} if there is nothing.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return redis.call('LRANGE', KEYS[2], 0, -1)
end
local delayed = redis.call('TYPE', KEYS[1]).ok == 'zset'
local parcel, counted_there = {ARGV[2], KEYS[1], delayed and '1' or '0'}, 0

local function add(due, entry)
  parcel[#parcel + 1], parcel[#parcel + 2] = due, entry
  if KEYS[3] ~= KEYS[1] and counted(decode(entry)) then
    counted_there = counted_there + 1
  end
end

local most = tonumber(ARGV[1])
if delayed then
  local flat = redis.call('ZRANGE', KEYS[1], 0, most - 1, 'WITHSCORES')
  for at = 1, #flat, 2 do
    add(flat[at + 1], flat[at])
  end
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #flat / 2 - 1)
else
  local entries = redis.call('LRANGE', KEYS[1], -most, -1)
  for at = #entries, 1, -1 do -- the oldest first
    add('', entries[at])
  end
  if #entries > 0 then
    redis.call('LTRIM', KEYS[1], 0, -#entries - 1)
  end
end
if #parcel == 3 then
  return {}
end
for _, part in ipairs(parcel) do
  redis.call('RPUSH', KEYS[2], part)
end
if counted_there > 0 then
  redis.call('HINCRBY', KEYS[3], 'accepted', -counted_there)
end
return parcel
