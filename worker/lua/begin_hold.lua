-- Hand nothing out any more; or, if a probe has failed, wait longer before the next.
-- KEYS  1 hold    hash: kind, reason, since, by, interval, probe_at (ms; absent: no probes), probes
-- ARGV  1 kind  2 reason  3 by  4 first interval (ms)  5 longest interval (ms)  6 wait that AquilaX asks for (ms)
--       7 '1' if it was a probe that failed
-- Returns 1 if the hold begins with this.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind, interval, probe_at = unpack(redis.call('HMGET', KEYS[1], 'kind', 'interval', 'probe_at'))
local asked = tonumber(ARGV[6])
if kind == 'operator' then
  return 0
end
if not kind then
  interval = tonumber(ARGV[4])
  redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'reason', ARGV[2], 'by', ARGV[3], 'since', now, 'probes', 0,
    'interval', interval, 'probe_at', now + math.max(interval, asked))
  return 1
end
if ARGV[7] == '1' then
  interval = math.min(tonumber(interval) * 2, tonumber(ARGV[5]))
  redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'reason', ARGV[2], 'interval', interval,
    'probe_at', now + math.max(interval, asked))
elseif asked > 0 and probe_at then
  redis.call('HSET', KEYS[1], 'probe_at', math.max(tonumber(probe_at), now + asked))
end
return 0
