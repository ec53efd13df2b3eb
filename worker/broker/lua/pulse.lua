-- When a lease was last renewed, and until when no lease counts as ended; both in ms.
-- What is no number there, or a grace that lasts longer than any does, is as good as none.
local function pulse_of(key, now)
  local LONGEST_GRACE = 24 * 3600 * 1000
  local pulse, grace = unpack(redis.call('HMGET', key, 'at', 'grace'))
  pulse, grace = tonumber(pulse or ''), tonumber(grace or 0) or 0
  return pulse, grace <= now + LONGEST_GRACE and grace or 0
end

