-- The votes that AquilaX took last, many to a hash; it stands before the scripts that ask for them.
-- In a key of its own, with an expiry of its own, a vote takes 280 bytes of memory; in a hash that is small enough for
-- Redis to keep it as a listpack (a ziplist before Redis 7) it takes 64.
-- <dedup>           string: how many buckets there are; absent: they are counted
-- <dedup>:<bucket>  hash: digest of a request_id -> its vote, of fixed width, so that it is changed in its place:
--                   status (1), '1' if it is unsure (1), occurred_at (15), when it expires (ms, 11 hex digits), digest
--                   of its message_id (8)
-- The names of the buckets are computed here and are not among KEYS: only Redis Cluster needs them there, and Celery
-- does not support it.

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

-- How many buckets there are. If the key does not tell, they are counted: up to where so many in a row are missing.
local function buckets_of(dedup)
  local GAP = 64
  local said = redis.call('GET', dedup)
  local buckets = tonumber(said or '')
  if buckets and buckets >= 1 and buckets <= 2 ^ 31 and buckets % 1 == 0 then
    return buckets
  end
  local last, at = 0, 1
  while at <= last + GAP do
    if redis.call('EXISTS', dedup .. ':' .. at) == 1 then
      last = at
    end
    at = at + 1
  end
  if said or last > 0 then
    redis.call('SET', dedup, last + 1)
  end
  return last + 1
end

-- The bucket of a request_id, how many buckets there are, and its vote; nil if none is remembered.
local function recall(dedup, digest)
  local buckets = buckets_of(dedup)
  local bucket = bucket_of(digest, buckets)
  local vote = redis.call('HGET', dedup .. ':' .. bucket, digest)
  return bucket, buckets, vote and not expired(vote, now_ms()) and vote or nil
end

-- Drop what has expired from a bucket that has grown; if that does not help, split two, those whose turn it is. With
-- two the bucket's own turn comes in time: with 3 million votes none has more than 126. Redis reads a listpack from its
-- beginning to find a field, and makes a hash table of a hash with more than 512 fields, if not told otherwise.
local function make_room(dedup, bucket, buckets, now)
  local WORTH_DROPPING, MOST, SPLITS = 12, 88, 2

  local function living(key)
    local all, live = redis.call('HGETALL', key), {}
    for at = 1, #all, 2 do
      if not expired(all[at + 1], now) then
        live[#live + 1], live[#live + 2] = all[at], all[at + 1]
      end
    end
    return live, (#all - #live) / 2
  end

  local function put(key, entries, left)
    if #entries > 0 then
      redis.call('HSET', key, unpack(entries))
      if left > 0 then -- what was copied from another Redis may have no expiry
        redis.call('PEXPIRE', key, left)
      end
    end
  end

  -- Buckets are written from nothing: a hash table does not become a listpack again by itself.
  local key = dedup .. ':' .. bucket
  local live, dead = living(key)
  if dead >= WORTH_DROPPING then
    local left = redis.call('PTTL', key)
    redis.call('DEL', key)
    put(key, live, left)
  end
  if #live / 2 <= MOST then
    return
  end
  for _ = 1, SPLITS do
    local _, exponent = math.frexp(buckets)
    local next_bucket = buckets - 2 ^ (exponent - 1)
    local source, stay, move = dedup .. ':' .. next_bucket, {}, {}
    local entries, left = living(source), redis.call('PTTL', source)
    for at = 1, #entries, 2 do
      local half = bucket_of(entries[at], buckets + 1) == next_bucket and stay or move
      half[#half + 1], half[#half + 2] = entries[at], entries[at + 1]
    end
    redis.call('DEL', source)
    put(source, stay, left)
    put(dedup .. ':' .. buckets, move, left)
    buckets = buckets + 1
  end
  redis.call('SET', dedup, buckets, 'KEEPTTL')
end

-- Remember a vote for so long from now on.
local function remember(dedup, bucket, buckets, digest, ttl, status, unsure, occurred_at, message)
  local now, key = now_ms(), dedup .. ':' .. bucket
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
    local size = redis.call('HLEN', key)
    if size % 16 == 0 or size > 96 then
      make_room(dedup, bucket, buckets, now)
    end
  end
end

local function mark_unsure(dedup, bucket, digest, vote)
  redis.call('HSET', dedup .. ':' .. bucket, digest, string.sub(vote, 1, 1) .. '1' .. string.sub(vote, 3))
end

