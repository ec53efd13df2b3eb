-- Adds to buckets of the history: hashes, each of one minute, quarter of an hour or hour. A sum is added to; a peak is
-- raised. A field or a key in which another program has put something else is passed over.
-- KEYS from first_key on: the buckets. ARGV from first_argument on, for each: for how many seconds it is kept, how many
-- sums, each one's field and what is added, how many peaks, each one's field and value.
local function add_to_buckets(first_key, first_argument)
  local at = first_argument
  for number = first_key, #KEYS do
    local key, kept, sums = KEYS[number], ARGV[at], tonumber(ARGV[at + 1])
    at = at + 2
    for _ = 1, sums do
      count(key, ARGV[at], ARGV[at + 1])
      at = at + 2
    end
    local peaks = tonumber(ARGV[at])
    at = at + 1
    for _ = 1, peaks do
      local stood = redis.pcall('HGET', key, ARGV[at])
      if type(stood) ~= 'table' and (tonumber(stood or '') or -1) < tonumber(ARGV[at + 1]) then
        redis.call('HSET', key, ARGV[at], ARGV[at + 1])
      end
      at = at + 2
    end
    redis.call('EXPIRE', key, kept)
  end
end

