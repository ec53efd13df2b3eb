-- Votes of another Redis: each is remembered here as long as it was there, unless a later one is known.
-- KEYS  1 dedup (dedup.lua)  2… the bucket of each
-- ARGV  two for each: digest of the request_id, and the vote
-- Returns {how many are remembered now that were not, how many buckets there are (0 if <dedup> does not tell),
--          1 if two are to be split, else 0, {number of one whose bucket it is not, …}}: of these nothing was done
local copied, crowded, left_out, now = 0, false, {}, now_ms()
redis.call('HDEL', KEYS[2], '') -- as in claim.lua
for number = 1, #ARGV / 2 do
  local digest, vote = ARGV[number * 2 - 1], ARGV[number * 2]
  local buckets, known = recall(KEYS[1], KEYS[1 + number], digest)
  if not buckets then
    left_out[#left_out + 1] = number
  else
    local left = (tonumber(string.sub(vote, 18, 28), 16) or 0) - now
    local status, unsure, occurred_at, message = read(vote)
    local _, _, known_at = read(known or '')
    if left > 0 and (not known or occurred_at > known_at) then
      local key = KEYS[1 + number]
      crowded = remember(KEYS[1], key, buckets, digest, left, status, unsure, occurred_at, message) or crowded
      copied = copied + 1
    end
  end
end
return {copied, buckets_of(KEYS[1]) or 0, crowded and 1 or 0, left_out}
