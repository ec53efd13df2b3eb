-- Was this very message delivered?
-- KEYS  1 dedup  2 the bucket of the request_id (dedup.lua)
-- ARGV  1 digest of the request_id  2 digest of the message_id (as in claim.lua)
-- Returns {1 if the last vote that AquilaX took is of this message, else 0}; or as dedup.lua has it
local buckets, vote = recall(KEYS[1], KEYS[2], ARGV[1])
if not buckets then
  return vote
end
local _, _, _, message = read(vote or '')
return {message == ARGV[2] and 1 or 0}
