-- commit: make a new version of a session's state the newest, or only slide its TTL.
--
-- KEYS  1 record  2 last fencing token  3 lease  4 parts  5 checkpoints  6 events
--       7 index of the business  8 index by expiry  9 … other indexes that may name the session
-- ARGV  1 session id  2 business id  3 operation id  4 token  5 base that the writer knows
--       6 sealed manifest ('' : nothing changed, slide only)  7 '1' when it may become last_good
--       8 the new version  9, 10 number of parts, and of fields of checkpoints, that must be there
--       11 number of arguments that are parts to store  12 number of versions to drop
--       then digest, sealed part, digest, sealed part …, then those versions, then at most 1000
--       digests of parts to drop
-- Returns {'OK', version, created ms, base and fields of checkpoints after it} | {'DONE', version, created ms} (this operation
--         was applied before) | {'GONE'} | {'FENCED'} | {'CONFLICT'} | {'DIFFERS'}
-- Promise: whole or not at all; once for an operation id; refused for a stale token. The parts that
-- are there are not looked at one by one: on this base nobody but the writer added or removed any, and
-- their number tells whether the server lost them. How long it takes follows what changed, not how
-- many parts there are.
local now = now_ms()
if not alive(KEYS[1], now) then return {'GONE'} end
if stale(ARGV[4], KEYS[1], KEYS[2], KEYS[3]) then return {'FENCED'} end
local rec = redis.call('HMGET', KEYS[1], 'checkpoint_version', 'checkpoint_op', 'ttl_ms')
local version = tonumber(rec[1] or '0')
if rec[2] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'checkpoint_op', ARGV[3])  -- so that a WAIT after the retry counts it
  return {'DONE', text(version), redis.call('HGET', KEYS[5], text(version) .. ':at') or text(now)}
end
if base(KEYS[1]) ~= ARGV[5] then return {'CONFLICT'} end
for i = 4, 5 do
  if redis.call('HLEN', KEYS[i]) ~= tonumber(ARGV[i + 5]) then return {'DIFFERS'} end
end

local stored = 12 + tonumber(ARGV[11])
local dropped = stored + tonumber(ARGV[12])
store(KEYS[4], 13, stored)
if ARGV[6] ~= '' then
  version = tonumber(ARGV[8])
  redis.call('HSET', KEYS[5], text(version), ARGV[6], text(version) .. ':at', text(now))
  redis.call('HSET', KEYS[1], 'checkpoint_version', text(version))
  if ARGV[7] == '1' then redis.call('HSET', KEYS[1], 'last_good_version', text(version)) end
end
local expires = now + tonumber(rec[3])
redis.call('HSET', KEYS[1], 'checkpoint_op', ARGV[3], 'token', ARGV[4],
  'last_activity', text(now), 'expires_at', text(expires))
for i = stored + 1, dropped do redis.call('HDEL', KEYS[5], ARGV[i], ARGV[i] .. ':at') end
if #ARGV > dropped then redis.call('HDEL', KEYS[4], unpack(ARGV, dropped + 1)) end
for _, i in ipairs({1, 4, 5}) do redis.call('PEXPIREAT', KEYS[i], text(expires)) end
for i = 7, 8 do put(KEYS[i], ARGV[1], expires, now) end
for i = 9, #KEYS do slide(KEYS[i], ARGV[1], expires, now) end
announce(KEYS[6], ARGV[1], ARGV[2], ARGV[6] ~= '' and 'saved' or 'touched', text(version))
return {'OK', text(version), redis.call('HGET', KEYS[5], text(version) .. ':at') or text(now),
  base(KEYS[1]), redis.call('HLEN', KEYS[5])}
