-- Split two buckets of the dedup store, those whose turn it is. With two, the turn of a bucket that is crowded comes in
-- time: with 3 million votes none has more than 126. Redis reads a listpack from its beginning to find a field, and makes
-- a hash table of a hash with more than 512 fields, if not told otherwise.
-- KEYS  1 dedup (dedup.lua)  then two for each split: the bucket, and the new one
-- ARGV  1 how many buckets there are: of two workers that would split the same, one does
-- Returns how many there are now; 0 if <dedup> does not tell.
local buckets = buckets_of(KEYS[1])
if buckets ~= tonumber(ARGV[1]) then
  return buckets or 0
end
redis.call('HDEL', KEYS[2], '') -- as in claim.lua
local now = now_ms()
for at = 2, #KEYS, 2 do
  local source, new, stay, move = KEYS[at], KEYS[at + 1], {}, {}
  local entries, left = living(source, now), redis.call('PTTL', source)
  for entry = 1, #entries, 2 do
    local half = KEYS[1] .. ':' .. bucket_of(entries[entry], buckets + 1) == source and stay or move
    half[#half + 1], half[#half + 2] = entries[entry], entries[entry + 1]
  end
  redis.call('DEL', source)
  put(source, stay, left)
  put(new, move, left)
  buckets = buckets + 1
end
redis.call('SET', KEYS[1], buckets, 'KEEPTTL')
return buckets
