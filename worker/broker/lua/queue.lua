-- Where a message lies: the list of its queue, or the set of those that wait. After `json.lua`.

-- Let a message wait. A sorted set has each member once, and of equal messages each is to be delivered.
local function schedule(delayed, due, message)
  while redis.call('ZSCORE', delayed, message) do
    message = message .. ' '
  end
  redis.call('ZADD', delayed, due, message)
end

-- The list of a queue that a message belongs to by its priority, as Kombu chooses it.
local function list_of(prefix, queue, sep, steps, message)
  local priority = tonumber(field(field(decode(message), 'properties'), 'priority') or 0) or 0
  local chosen = nil
  for step in string.gmatch(steps, '%-?%d+') do
    if chosen == nil or tonumber(step) <= priority then
      chosen = tonumber(step)
    end
  end
  if chosen == nil or chosen == 0 then
    return prefix .. queue
  end
  return prefix .. queue .. sep .. string.format('%d', chosen)
end

