-- Since when the oldest event waits for its first attempt: what has been tried, and what is replayed, waits for other
-- reasons than a want of workers.
-- KEYS  the queue's lists
-- ARGV  1 how many entries to look at, from each end of a list
-- Returns when it was enqueued, as text; '' if there is none among these.
local oldest, ends = '', tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
  for _, range in ipairs({{0, ends - 1}, {-ends, -1}}) do
    for _, entry in ipairs(redis.call('LRANGE', key, range[1], range[2])) do
      local again = string.find(entry, '"attempts"', 1, true) or replayed(entry) -- worker/policy/envelope.py
      local at = not again and enqueued_at(entry)
      if at and (oldest == '' or at < oldest) then
        oldest = at
      end
    end
  end
end
return oldest
