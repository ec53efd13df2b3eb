-- One step of a revocation: what waits and is named by it ends here, counted as revoked.
-- KEYS  1 revocations   sorted set: criterion -> until when (ms) a message must have been handed out first to be hit
--       2 counts of the queue  3… the places in which messages wait: lists and sorted sets
-- ARGV  1 '1' if it begins with this step  2 entries that one step looks at  3 the place to go on at (from 0)
--       4 its entry to go on at (from 0)  5… the criteria: `id:<task id>` or `stamp:<header>=<value>`
-- Entries come at a list's front, so reading from there misses none that stays. Until its last step a revocation is open,
-- for a minute after each step: what is handed out meanwhile is hit, and what comes after its end is not.
-- Returns {'busy'} if another worker is at it, {'done', {id, …}, until (ms)} or {'more', {id, …}, place, entry}
local OPEN, KEPT = 60 * 1000, 8 * 24 * 3600 * 1000
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - KEPT)

local ids, stamps, named, stamped, few = {}, {}, {}, false, #ARGV <= 4 + 4
for at = 5, #ARGV do
  local id, stamp = string.match(ARGV[at], '^id:(.*)$'), string.match(ARGV[at], '^stamp:(.*)$')
  if id then
    ids[id] = true
    named[#named + 1] = '"' .. id .. '"'
  elseif stamp then
    stamps[stamp], stamped = true, true
  end
end

if ARGV[1] == '1' then
  local busy = true
  for at = 5, #ARGV do
    local until_ms = redis.call('ZSCORE', KEYS[1], ARGV[at])
    busy = busy and until_ms and tonumber(until_ms) > now
  end
  if busy then
    return {'busy'}
  end
end

local function set_until(moment)
  for at = 5, #ARGV do
    redis.call('ZADD', KEYS[1], moment, ARGV[at])
  end
end

-- Whether an entry is worth decoding.
local function may_be_hit(entry)
  if stamped or not few then
    return true
  end
  for _, id in ipairs(named) do
    if string.find(entry, id, 1, true) then
      return true
    end
  end
  return false
end

local function has_stamp(headers)
  local values = field(headers, 'stamps')
  for name, value in pairs(type(values) == 'table' and values or {}) do
    for _, one in pairs(type(value) == 'table' and value or {value}) do
      if stamps[tostring(name) .. '=' .. tostring(one)] then
        return true
      end
    end
  end
  return false
end

local ended = {}
local function end_if_hit(entry, key, remove)
  if not may_be_hit(entry) then
    return false
  end
  local message = decode(entry)
  local headers = field(message, 'headers')
  local id = field(headers, 'id')
  if not (type(id) == 'string' and ids[id]) and not has_stamp(headers) then
    return false
  end
  remove(key, entry)
  if not counted(message) then
    count(KEYS[2], 'accepted', 1)
  end
  count(KEYS[2], 'revoked', 1)
  ended[#ended + 1] = type(id) == 'string' and id or ''
  return true
end

local function from_list(key, entry)
  redis.call('LREM', key, 1, entry)
end

local function from_set(key, entry)
  redis.call('ZREM', key, entry)
end

local room, place, entry_at = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
while room > 0 and place < #KEYS - 2 do
  local key = KEYS[3 + place]
  local is_set = redis.call('TYPE', key).ok == 'zset'
  -- Delayed messages are read from the last: those in front go as they become due.
  local entries = redis.call(is_set and 'ZREVRANGE' or 'LRANGE', key, entry_at, entry_at + room - 1)
  local gone = 0
  for _, entry in ipairs(entries) do
    gone = gone + (end_if_hit(entry, key, is_set and from_set or from_list) and 1 or 0)
  end
  if #entries < room then
    place, entry_at = place + 1, 0
  else
    entry_at = entry_at + #entries - gone
  end
  room = room - #entries
end
if place < #KEYS - 2 then
  set_until(now + OPEN)
  return {'more', ended, place, entry_at}
end
set_until(now)
return {'done', ended, now}
