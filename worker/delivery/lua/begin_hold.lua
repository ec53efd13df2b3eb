-- Hand nothing out any more; or, if a probe has failed, wait longer before the next.
-- KEYS  1 hold    hash: kind, comment, since (ms), actor, interval (ms), probes; probe_at (ms; absent: no probes); and
--                 not_before (ms), if AquilaX has asked for a wait. While an operator holds, what is known of a hold that
--                 began by itself stands in beneath_kind, beneath_comment, beneath_since, beneath_actor, beneath_probes
-- ARGV  1 kind  2 comment  3 actor  4 first interval (ms)  5 longest interval (ms)  6 wait that AquilaX asks for (ms)
--       7 '1' if it was a probe that failed  8 '1' if a hold begins with this where there is none
-- Returns {kind, comment, 1 if it has begun with this, else 0} of the hold that there is now; {} if there is none.
local now, asked = now_ms(), tonumber(ARGV[6])
local names = {'kind', 'comment', 'interval', 'probe_at', 'not_before'}
local kind, comment, interval, probe_at, not_before = unpack(redis.call('HMGET', KEYS[1], unpack(names)))
if kind == 'operator' then
  local beneath, new = redis.call('HGET', KEYS[1], 'beneath_kind'), 0
  redis.call('HDEL', KEYS[1], '') -- as in claim.lua
  if not beneath and ARGV[8] == '1' then
    new = 1
    redis.call('HSET', KEYS[1], 'beneath_since', now, 'beneath_actor', ARGV[3], 'beneath_probes', 0)
  end
  if beneath or new == 1 then
    redis.call('HSET', KEYS[1], 'beneath_kind', ARGV[1], 'beneath_comment', ARGV[2])
    if asked > 0 then
      redis.call('HSET', KEYS[1], 'not_before', math.max(now + asked, tonumber(not_before or 0) or 0))
    end
  end
  return {kind, comment, new}
end

local wait, begun = nil, 0
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
if not kind then
  if ARGV[8] ~= '1' then
    return {}
  end
  kind, comment, wait, begun = ARGV[1], ARGV[2], tonumber(ARGV[4]), 1
  redis.call('HSET', KEYS[1], 'since', now, 'actor', ARGV[3], 'probes', 0, 'interval', wait)
elseif ARGV[7] == '1' then
  kind, comment, wait = ARGV[1], ARGV[2], math.min((tonumber(interval) or tonumber(ARGV[4])) * 2, tonumber(ARGV[5]))
  redis.call('HSET', KEYS[1], 'interval', wait)
else -- an answer to what was being sent when the hold began: it brings no probe nearer
  wait = (tonumber(probe_at) or now) - now
end
redis.call('HSET', KEYS[1], 'kind', kind, 'comment', comment, 'probe_at', now + math.max(wait, asked))
if asked > 0 then
  redis.call('HSET', KEYS[1], 'not_before', math.max(now + asked, tonumber(not_before or 0) or 0))
end
return {kind, comment, begun}
