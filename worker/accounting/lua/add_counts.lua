-- Counts arrive from another Redis: once, however often they are sent.
-- KEYS  1 the counts here  2 the names of the parcels that have arrived
-- ARGV  1 the parcel's name  2… field and value of each
local SAID = {generation = true, carried = true, carried_from = true} -- numbers that say which data these are
local KEPT = 30 * 24 * 3600
if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
  redis.call('EXPIRE', KEYS[2], KEPT)
  for at = 2, #ARGV, 2 do
    if not SAID[ARGV[at]] and string.find(ARGV[at + 1], '^-?%d+$') then
      redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
    else
      redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    end
  end
end
