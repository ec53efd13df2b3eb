-- The votes that AquilaX took last, many to a hash; it stands before the scripts that ask for them.
-- In a key of its own, with an expiry of its own, a vote takes 280 bytes of memory; in a hash that is small enough for
-- Redis to keep it as a listpack (a ziplist before Redis 7) it takes 64.
-- <dedup>           string: how many buckets there are; absent: they are counted (count_buckets.lua)
-- <dedup>:<bucket>  hash: digest of a request_id -> its vote, of fixed width, so that it is changed in its place:
--                   status (1), '1' if it is unsure (1), occurred_at (15), when it expires (ms, 11 hex digits), digest
--                   of its message_id (8)
-- Which bucket a vote is in is for the client to say, which declares its key; each script looks whether that is so. If
-- it is not, it does nothing and answers {'buckets', how many there are}, 0 if <dedup> does not tell.

-- Linear hashing (Litwin 1980): buckets are split one by one, in turn, so that no script has to move all votes.
local function bucket_of(digest, buckets)
  local first, second, third, fourth = string.byte(digest, 1, 4)
  local _, exponent = math.frexp(buckets)
  local size = 2 ^ exponent -- the least power of two above `buckets`
  local bucket = (((first * 256 + second) * 256 + third) * 256 + fourth) % size
  return bucket < buckets and bucket or bucket % (size / 2)
end

local function expired(vote, now)
  return (tonumber(string.sub(vote, 18, 28), 16) or 0) <= now -- what is no vote is dropped as one that has expired
end

-- Its status, '1' if it is unsure, its occurred_at, and the digest of its message.
local function read(vote)
  return string.sub(vote, 1, 1), string.sub(vote, 2, 2), string.sub(vote, 3, 17), string.sub(vote, 29)
end

-- How many buckets there are; nil if the key does not tell.
local function buckets_of(dedup)
  local buckets = tonumber(redis.call('GET', dedup) or '')
  if buckets and buckets >= 1 and buckets <= 2 ^ 31 and buckets % 1 == 0 then
    return buckets
  end
  return nil
end

-- How many buckets there are, and the vote of a request_id (nil if none is remembered), if `key` is its bucket. If not:
-- nil, and what the script answers.
local function recall(dedup, key, digest)
  local buckets = buckets_of(dedup)
  if not buckets or dedup .. ':' .. bucket_of(digest, buckets) ~= key then
    return nil, {'buckets', buckets or 0}
  end
  local vote = redis.call('HGET', key, digest)
  return buckets, vote and not expired(vote, now_ms()) and vote or nil
end

-- What has not expired of a bucket, and how much has.
local function living(key, now)
  local all, live = redis.call('HGETALL', key), {}
  for at = 1, #all, 2 do
    if not expired(all[at + 1], now) then
      live[#live + 1], live[#live + 2] = all[at], all[at + 1]
    end
  end
  return live, (#all - #live) / 2
end

-- Write entries into a bucket that was deleted: a hash table does not become a listpack again by itself.
local function put(key, entries, left)
  if #entries > 0 then
    redis.call('HSET', key, unpack(entries))
    if left > 0 then -- what was copied from another Redis may have no expiry
      redis.call('PEXPIRE', key, left)
    end
  end
end

-- Whether a bucket that has grown is crowded: then the client lets split_buckets.lua split two. Until it does, and if it
-- never does, each further vote says so again. What has expired is dropped before; to find it costs reading all of it,
-- so that is done at every 16th vote, and always where there are too many.
local function is_crowded(key, size, now)
  local WORTH_DROPPING, MOST, FULL, TOO_MANY = 12, 88, 96, 128
  if size % 16 > 0 and size <= TOO_MANY then
    return size > FULL
  end
  local live, dead = living(key, now)
  if dead >= WORTH_DROPPING then
    local left = redis.call('PTTL', key)
    redis.call('DEL', key)
    put(key, live, left)
  end
  return #live / 2 > MOST
end

-- Remember a vote for so long from now on. Returns whether its bucket is crowded.
local function remember(dedup, key, buckets, digest, ttl, status, unsure, occurred_at, message)
  local now = now_ms()
  local vote = status .. unsure .. occurred_at .. string.format('%011x', now + ttl) .. message
  local added = redis.call('HSET', key, digest, vote)
  -- Each vote expires by itself, and a bucket with its last: never earlier, though workers may differ in their ttl, and
  -- a bit later, so that most votes need not extend it. How many buckets there are must outlive them all, or votes
  -- would be looked for in the wrong place; when nothing has been remembered for long it goes too, and all begins again.
  if redis.call('PTTL', key) < ttl then
    local longer = math.floor(ttl * 9 / 8)
    redis.call('PEXPIRE', key, longer)
    if redis.call('PTTL', dedup) < longer then
      redis.call('SET', dedup, buckets, 'PX', math.floor(ttl * 10 / 8))
    end
  end
  if added == 1 then
    return is_crowded(key, redis.call('HLEN', key), now)
  end
  return false
end

local function mark_unsure(key, digest, vote)
  redis.call('HSET', key, digest, string.sub(vote, 1, 1) .. '1' .. string.sub(vote, 3))
end

