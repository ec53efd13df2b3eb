-- Why messages wait for their time, by the value that they carry (worker/policy/envelope.py).
-- KEYS  the sorted sets of delayed messages
-- ARGV  1 how many to look at in each: those that are due first
-- Returns {how many there are, how many were looked at, {reason, how many, …}}; '' is the reason of one without a value.
local total, looked_at, counts = 0, 0, {}
for _, key in ipairs(KEYS) do
  total = total + redis.call('ZCARD', key)
  for _, entry in ipairs(redis.call('ZRANGE', key, 0, tonumber(ARGV[1]) - 1)) do
    local at = string.find(entry, '"waits"', 1, true) -- as in entries.lua
    local reason = at and string.match(entry, '^"waits"%s*:%s*"(%l+)"', at) or ''
    counts[reason] = (counts[reason] or 0) + 1
    looked_at = looked_at + 1
  end
end
local flat = {}
for reason, number in pairs(counts) do
  flat[#flat + 1] = reason
  flat[#flat + 1] = number
end
return {total, looked_at, flat}
