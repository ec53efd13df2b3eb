-- Where a message lies: the list of its queue, or the set of those that wait. After `json.lua`.

-- Let a message wait, and return as what. A sorted set has each member once, and of equal messages each is to be delivered.
local function schedule(delayed, due, message)
  while redis.call('ZSCORE', delayed, message) do
    message = message .. ' '
  end
  redis.call('ZADD', delayed, due, message)
  return message
end

-- Where messages may go. Only a message itself tells its queue, and the client declares the keys of those that it expects.
-- `key`       from there on KEYS has the places of these queues: one for each priority step
-- `argument`  from there on ARGV has the priority steps, how many queues there are, and their names
-- Returns a function that gives the place of a message of a queue by its priority, as Kombu chooses it, or nil if the queue
-- was not declared; the list of those, of which the client declares the keys to go on; and where ARGV goes on.
local function places_from(key, argument)
  local steps, first, undeclared, noted = {}, {}, {}, {}
  for step in string.gmatch(ARGV[argument], '%-?%d+') do
    steps[#steps + 1] = tonumber(step)
  end
  local queues = tonumber(ARGV[argument + 1])
  for number = 1, queues do
    first[ARGV[argument + 1 + number]] = key + (number - 1) * #steps
  end

  local function place_of(queue, message)
    if not first[queue] then
      if not noted[queue] then
        noted[queue] = true
        undeclared[#undeclared + 1] = queue
      end
      return nil
    end
    local priority = tonumber(field(field(decode(message), 'properties'), 'priority') or 0) or 0
    local chosen = 1
    for number = 2, #steps do
      if steps[number] <= priority then
        chosen = number
      end
    end
    return KEYS[first[queue] + chosen - 1]
  end
  return place_of, undeclared, argument + 2 + queues
end

