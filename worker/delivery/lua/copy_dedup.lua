-- Votes of another Redis: each is remembered here as long as it was there, unless a later one is known.
-- KEYS  1 dedup (dedup.lua)
-- ARGV  two for each: digest of the request_id, and the vote
-- Returns how many are remembered now that were not.
local copied, now = 0, now_ms()
for at = 1, #ARGV, 2 do
  local digest, vote = ARGV[at], ARGV[at + 1]
  local left = (tonumber(string.sub(vote, 18, 28), 16) or 0) - now
  local bucket, buckets, known = recall(KEYS[1], digest)
  local status, unsure, occurred_at, message = read(vote)
  local _, _, known_at = read(known or '')
  if left > 0 and (not known or occurred_at > known_at) then
    remember(KEYS[1], bucket, buckets, digest, left, status, unsure, occurred_at, message)
    copied = copied + 1
  end
end
return copied
