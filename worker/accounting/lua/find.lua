-- Those entries of a list, of its delayed messages or of the messages in flight in which one of some texts stands.
-- KEYS  1 a list, delayed messages, or the messages in flight
-- ARGV  1 first  2 last (both count from 0; of the messages in flight all are looked at)  3… the texts
-- Returns {how many were looked at, {entry, where it is}, …}: of a list how many entries are handed out before it, of a
-- delayed message when it is due (ms since 1970), of one in flight its delivery tag
local kind, entries, place = redis.call('TYPE', KEYS[1]).ok, {}, nil
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
if kind == 'list' then
  local size = redis.call('LLEN', KEYS[1])
  entries = redis.call('LRANGE', KEYS[1], first, last)
  place = function(at) return size - first - at end
elseif kind == 'zset' or kind == 'hash' then
  local flat = kind == 'zset' and redis.call('ZREVRANGE', KEYS[1], first, last, 'WITHSCORES')
    or redis.call('HGETALL', KEYS[1])
  local value = kind == 'zset' and 1 or 2
  local at_once = {}
  for at = 1, #flat, 2 do
    entries[#entries + 1] = flat[at + value - 1]
    at_once[#entries] = flat[at + 2 - value]
  end
  place = function(at) return at_once[at] end
end
local found = {#entries}
for at, entry in ipairs(entries) do
  for text = 3, #ARGV do
    if string.find(entry, ARGV[text], 1, true) then
      found[#found + 1] = {entry, tostring(place(at))}
      break
    end
  end
end
return found
