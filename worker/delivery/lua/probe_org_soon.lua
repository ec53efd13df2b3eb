-- The next probe of a held key is due: the key may be another one now, or the last probe had no need to be sent.
-- KEYS  1 holds (as in begin_org_hold.lua)
-- ARGV  the scopes
for _, scope in ipairs(ARGV) do
  local hold = decode(redis.call('HGET', KEYS[1], scope) or '')
  if hold and hold.probe_at then
    redis.call('HDEL', KEYS[1], '') -- as in claim.lua
    hold.probe_at = now_ms()
    redis.call('HSET', KEYS[1], scope, cjson.encode(hold))
  end
end
