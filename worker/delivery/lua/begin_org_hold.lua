-- Hold back the orgs of a key; or, if a probe of it has failed, wait longer before the next.
-- KEYS  1 holds   hash: scope -> JSON object: kind, comment, since (ms), actor, probes; and interval, probe_at and
--                 not_before (ms) of one that has begun by itself, as in begin_hold.lua
-- ARGV  1 scope  2 kind  3 comment  4 actor  5 first interval (ms)  6 longest interval (ms)
--       7 wait that AquilaX asks for (ms)  8 '1' if it was a probe that failed
-- Returns {the object, 1 if it has begun with this, else 0}.
local now, asked = now_ms(), tonumber(ARGV[7])
local hold, begun = decode(redis.call('HGET', KEYS[1], ARGV[1]) or ''), 0
if hold and hold.kind == 'operator' then
  return {cjson.encode(hold), 0}
end
local wait = nil
if not hold then
  begun, wait = 1, tonumber(ARGV[5])
  hold = {since = now, actor = ARGV[4], probes = 0, interval = wait}
elseif ARGV[8] == '1' then
  wait = math.min((tonumber(hold.interval) or tonumber(ARGV[5])) * 2, tonumber(ARGV[6]))
  hold.interval = wait
else -- an answer to what was being sent when it began: it brings no probe nearer
  wait = (tonumber(hold.probe_at) or now) - now
end
hold.kind, hold.comment, hold.probe_at = ARGV[2], ARGV[3], now + math.max(wait, asked)
if asked > 0 then
  hold.not_before = math.max(now + asked, tonumber(hold.not_before) or 0)
end
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
local text = cjson.encode(hold)
redis.call('HSET', KEYS[1], ARGV[1], text)
return {text, begun}
