-- Replace, renew or drop the claim on an Idempotency-Key, if it is still one's own.
-- KEYS  1 the key
-- ARGV  1 the claim  2 what replaces it, or '' to drop it  3 how long that stays, in ms
-- Returns 1 if it was one's own, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
