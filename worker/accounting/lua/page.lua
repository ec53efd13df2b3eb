-- Some of the entries of a list or of its delayed messages, looked at one by one.
-- Entries come at a list's front and go at its end, and delayed ones go in the order in which they are due: who reads
-- a list from its front, and delayed messages from the last, may see an entry twice, and misses none that stays.
-- KEYS  1 a list, or delayed messages
-- ARGV  1 first  2 last (both count from 0)
-- Returns {entries, {SHA-1 of one that is not counted as accepted, …}, {SHA-1 of one that is no message, …},
--          {dead letter, …}: those that are being replayed}
local entries
if redis.call('TYPE', KEYS[1]).ok == 'zset' then
  entries = redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])
else
  entries = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
end
local uncounted, no_message, replays = {}, {}, {}
for _, entry in ipairs(entries) do
  local counted, usable = judge(entry)
  if not counted then
    uncounted[#uncounted + 1] = redis.sha1hex(entry)
  end
  if not usable then
    no_message[#no_message + 1] = redis.sha1hex(entry)
  end
  local row = replayed(entry)
  if row then
    replays[#replays + 1] = row
  end
end
return {#entries, uncounted, no_message, replays}
