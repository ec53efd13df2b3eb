-- Count the buckets of the dedup store where <dedup> does not tell how many there are: up to where so many in a row are
-- missing. One script looks at some of them, as the client knows no end; what changes between two only makes another
-- worker the one that writes the number.
-- KEYS  1 dedup (dedup.lua)  2… the buckets from some number on, in their order
-- ARGV  1 that number  2 the last bucket that was found before, or -1  3 ttl (ms)
-- Returns {how many buckets there are, which <dedup> tells from now on; or 0 if more are to be looked at,
--          the last one that was found, or -1}
local GAP = 64
local buckets = buckets_of(KEYS[1])
if buckets then
  return {buckets, -1}
end
local number, last = tonumber(ARGV[1]), tonumber(ARGV[2])
for at = 2, #KEYS do
  if number > math.max(last, 0) + GAP then
    break
  end
  if redis.call('EXISTS', KEYS[at]) == 1 then
    last = number
  end
  number = number + 1
end
if number <= math.max(last, 0) + GAP then
  return {0, last}
end
redis.call('DEL', KEYS[1]) -- as in claim.lua
if last < 0 then -- nothing is remembered, and nothing is to stay of a number that nothing follows
  redis.call('SET', KEYS[1], 1, 'PX', math.floor(tonumber(ARGV[3]) * 10 / 8))
else
  redis.call('SET', KEYS[1], last + 1)
end
return {math.max(last, 0) + 1, last}
