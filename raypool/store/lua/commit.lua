-- commit: make a new version of a session's state the newest, or only slide its TTL.
--
-- KEYS  1 record  2 last fencing token  3 lease  4 parts  5 checkpoints  6 events
--       7 index of the business  8 index by expiry  9 … other indexes that may name the session
-- ARGV  1 session id  2 business id  3 operation id  4 token  5 version that the caller built on
--       6 sealed manifest ('' : nothing changed, slide only)  7 '1' when it may become last_good
--       8 the new version  9 number of parts that must be there  10 number of versions to drop
--       then those digests, those versions, then digests of parts to drop
-- Returns {'OK', version, created ms} | {'GONE'} | {'FENCED'} | {'CONFLICT', version} | {'MISSING'}
-- Promise: whole or not at all; once for an operation id; refused for a stale token.
local now = now_ms()
if not alive(KEYS[1], now) then return {'GONE'} end
if stale(ARGV[4], KEYS[1], KEYS[2], KEYS[3]) then return {'FENCED'} end
local rec = redis.call('HMGET', KEYS[1], 'checkpoint_version', 'checkpoint_op', 'ttl_ms')
local version = tonumber(rec[1] or '0')
if rec[2] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'checkpoint_op', ARGV[3])  -- so that a WAIT after the retry counts it
  return {'OK', text(version), redis.call('HGET', KEYS[5], text(version) .. ':at') or text(now)}
end
if version ~= tonumber(ARGV[5]) then return {'CONFLICT', text(version)} end

local required, dropped = tonumber(ARGV[9]), tonumber(ARGV[10])
for i = 11, 10 + required do
  if redis.call('HEXISTS', KEYS[4], ARGV[i]) == 0 then return {'MISSING'} end
end
if ARGV[6] ~= '' then
  version = tonumber(ARGV[8])
  redis.call('HSET', KEYS[5], text(version), ARGV[6], text(version) .. ':at', text(now))
  redis.call('HSET', KEYS[1], 'checkpoint_version', text(version))
  if ARGV[7] == '1' then redis.call('HSET', KEYS[1], 'last_good_version', text(version)) end
  for i = 11 + required, 10 + required + dropped do
    redis.call('HDEL', KEYS[5], ARGV[i], ARGV[i] .. ':at')
  end
  for i = 11 + required + dropped, #ARGV do redis.call('HDEL', KEYS[4], ARGV[i]) end
end
local expires = now + tonumber(rec[3])
redis.call('HSET', KEYS[1], 'checkpoint_op', ARGV[3], 'token', ARGV[4],
  'last_activity', text(now), 'expires_at', text(expires))
for _, i in ipairs({1, 4, 5}) do redis.call('PEXPIREAT', KEYS[i], text(expires)) end
for i = 7, 8 do put(KEYS[i], ARGV[1], expires, now) end
for i = 9, #KEYS do slide(KEYS[i], ARGV[1], expires, now) end
announce(KEYS[6], ARGV[1], ARGV[2], ARGV[6] ~= '' and 'saved' or 'touched', text(version))
return {'OK', text(version), redis.call('HGET', KEYS[5], text(version) .. ':at') or text(now)}
