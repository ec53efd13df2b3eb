-- What ends a message; it stands before the scripts that do.
-- It leaves the worker's hand, and is counted, in one step: so it is counted once, however often it was handed out.
-- If it is not in flight its lease has ended, and it is counted where it comes to its end again.
-- `held` is the set of what its holder holds; `unacked` again if it is not known.
local function ends(unacked, index, held, counts, tag, names)
  if redis.call('HDEL', unacked, tag) == 0 then
    return 0
  end
  redis.call('ZREM', index, tag)
  if held ~= unacked then
    redis.call('SREM', held, tag)
  end
  for _, name in ipairs(names) do
    count(counts, name, 1)
  end
  return 1
end

