-- A parcel of messages arrives from another Redis: once, however often it is sent.
-- KEYS  1 its place here  2 the queue's counts (1 again if it is not counted)  3 the names of the parcels that have arrived
-- ARGV  1 its name  2 '1' if its place is of delayed messages  3… two for each message, as in `take.lua`
-- Returns how many messages have arrived with it.
local KEPT = 30 * 24 * 3600
if redis.call('SADD', KEYS[3], ARGV[1]) == 0 then
  return 0
end
redis.call('EXPIRE', KEYS[3], KEPT)
local accepted = 0
for at = 3, #ARGV, 2 do
  local due, entry = ARGV[at], ARGV[at + 1]
  if ARGV[2] == '1' then
    schedule(KEYS[1], due, entry)
  else
    redis.call('LPUSH', KEYS[1], entry)
  end
  if KEYS[2] ~= KEYS[1] and counted(decode(entry)) then
    accepted = accepted + 1
  end
end
if accepted > 0 then
  redis.call('HINCRBY', KEYS[2], 'accepted', accepted)
end
return (#ARGV - 2) / 2
