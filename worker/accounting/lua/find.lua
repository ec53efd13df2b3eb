-- Those entries of a list, of its delayed messages or of the messages in flight in which one of some texts stands.
-- KEYS  1 a list, delayed messages, or the messages in flight
-- ARGV  1 first  2 last (both count from 0; of the messages in flight all are looked at)  3… the texts
-- Returns {how many were looked at, {entry, where it is}, …}: of a list how many entries are handed out before it, of a
-- delayed message when it is due (ms since 1970), of one in flight its delivery tag
local kind, entries, places = redis.call('TYPE', KEYS[1]).ok, {}, {}
if kind == 'list' then
  local behind = redis.call('LLEN', KEYS[1]) - tonumber(ARGV[1])
  entries = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
  for at = 1, #entries do
    places[at] = tostring(behind - at)
  end
elseif kind == 'zset' then
  local flat = redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2], 'WITHSCORES')
  for at = 1, #flat, 2 do
    entries[#entries + 1], places[#places + 1] = flat[at], flat[at + 1]
  end
elseif kind == 'hash' then
  local flat = redis.call('HGETALL', KEYS[1])
  for at = 1, #flat, 2 do
    places[#places + 1], entries[#entries + 1] = flat[at], flat[at + 1]
  end
end
local found = {#entries}
for at, entry in ipairs(entries) do
  for text = 3, #ARGV do
    if string.find(entry, ARGV[text], 1, true) then
      found[#found + 1] = {entry, places[at]}
      break
    end
  end
end
return found
