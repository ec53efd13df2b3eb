-- Count. Where no number stands, nothing is counted, and what is being done goes on: the doctor names the key.
local function count(counts, name, by)
  local done = redis.pcall('HINCRBY', counts, name, by)
  if type(done) == 'table' then
    local odd = string.find(done.err, 'integer') or string.find(done.err, 'overflow') or string.find(done.err, 'WRONGTYPE')
    if not odd then
      error(done.err, 0)
    end
  end
end

