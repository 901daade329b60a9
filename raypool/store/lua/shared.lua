-- Functions that the scripts share. Time is the server's; big numbers go out as text, since Lua
-- would print them as 1.7e+15.
local function text(number) return string.format('%.0f', number) end

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function now_ms() return math.floor(now_us() / 1000) end

-- Put a member into a self-cleaning index: score is its expiry; what expired is trimmed; the index
-- lives as long as its longest member. (PEXPIREAT … GT never sets a TTL on a key that has none.)
local function put(index, sid, expires, now)
  redis.call('ZADD', index, text(expires), sid)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. text(now))
  local ttl = redis.call('PTTL', index)
  if ttl < 0 or now + ttl < expires then redis.call('PEXPIREAT', index, text(expires)) end
end

-- Slide a member of an index. One that is not in it stays out: the record changed meanwhile.
local function slide(index, sid, expires, now)
  if redis.call('ZSCORE', index, sid) then put(index, sid, expires, now) end
end

-- Is this record there and not expired? Redis drops expired keys late.
local function alive(record, now)
  local expires = redis.call('HGET', record, 'expires_at')
  return expires and tonumber(expires) > now
end

local function announce(stream, sid, business, kind, version)
  redis.call('XADD', stream, 'MAXLEN', '~', '10000', '*', 'sid', sid, 'business', business,
    'kind', kind, 'version', version)
end

-- Is there another owner than the one with this token, or was there one since? The counter is the
-- authority; should it be lost, the lease names the present owner, and the record the newest that
-- wrote to it. Whoever holds the lease is the only owner, also if a server that lost its data and
-- whose clock is behind gave it a smaller token.
local function stale(token, record, counter, lease)
  local mine = tonumber(token)
  if tonumber(redis.call('HGET', lease, 'token') or token) ~= mine then return true end
  return mine < math.max(tonumber(redis.call('GET', counter) or '0'),
    tonumber(redis.call('HGET', record, 'token') or '0'))
end

-- What a checkpoint builds on: the record, and the last change of the parts. Another one than the
-- writer knows means that somebody wrote meanwhile, or that this server is not the one that it was:
-- what the writer remembers of it is worth nothing.
local function base(record)
  local found = redis.call('HMGET', record, 'version', 'checkpoint_version', 'checkpoint_op',
    'last_good_version', 'data_key', 'parts_op')
  for i = 1, #found do found[i] = found[i] or '' end
  return table.concat(found, '|')
end

-- Store values under their digests, given as digest, value, digest, value … in ARGV.
local function store(parts, first, last)
  for i = first, last, 2 do redis.call('HSET', parts, ARGV[i], ARGV[i + 1]) end
end
