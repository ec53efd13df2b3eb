-- An operator holds, whatever else does: no probes, until an operator resumes. A hold that had begun by itself stays
-- noted beneath, and goes on then.
-- KEYS  1 hold (as in begin_hold.lua)  2 counts: in hold_changes, how many times operators have held or resumed
-- ARGV  1 comment  2 actor
local hold, beneath = KEYS[1], {}
local kind = redis.pcall('HGET', hold, 'kind')
if type(kind) == 'table' then -- it is no hash
  redis.call('DEL', hold)
  kind = false
end
if kind and kind ~= 'operator' then
  for _, name in ipairs({'kind', 'comment', 'since', 'actor', 'probes'}) do
    beneath[#beneath + 1] = 'beneath_' .. name
    beneath[#beneath + 1] = redis.call('HGET', hold, name) or ''
  end
end
redis.call('HDEL', hold, 'probe_at') -- the first write, as in claim.lua
redis.call('HSET', hold, 'kind', 'operator', 'comment', ARGV[1], 'actor', ARGV[2], 'probes', 0, 'since', now_ms(), unpack(beneath))
redis.call('HINCRBY', KEYS[2], 'hold_changes', 1)
