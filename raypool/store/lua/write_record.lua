-- write_record: create or change one session record with all its indexes, atomically.
--
-- KEYS  1 record  2 parts  3 checkpoints  4 events  5 index of the business  6 index by expiry
--       7 index status:active  8 index status:inactive
--       9 index desired:stopped  10 lease  11 last fencing token
--       then d indexes of the other wishes, n indexes to enter, m indexes to leave,
--       k records of the business's other sessions
-- ARGV  1 session id  2 operation id  3 expected version (0: must not exist)  4 ttl in ms
--       5 kind of event  6 business id  7 token of the owner that writes, '' when it is no owner
--       8 version that a new record's must be above
--       9 d  10 n  11 m  12 k (-1: this session does not become active)
--       then k session ids, then field, value, field, value …
-- Returns {'OK', version} | {'GONE'} | {'CONFLICT', version} | {'AGAIN'} | {'FENCED'}
-- Promise: applied once for an operation id, as long as no 16 others came between; the version grows unless the kind is 'touched'; of a
-- business's sessions at most one is active after it, the others are neither active nor wanted to run
-- (AGAIN: one appeared that the caller did not know); checkpoints stay as they are; an owner is
-- refused when its token is stale.
local now = now_ms()
local sid, op, expected, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local d, n, m, k = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local enter, leave, rivals = 11 + d, 11 + d + n, 11 + d + n + m
local there = alive(KEYS[1], now)
local version = there and tonumber(redis.call('HGET', KEYS[1], 'version')) or 0
local ops = there and redis.call('HGET', KEYS[1], 'ops') or ''
if string.find(' ' .. ops .. ' ', ' ' .. op .. ' ', 1, true) then
  redis.call('HSET', KEYS[1], 'ops', ops)  -- written again, so that a WAIT after the retry counts it
  return {'OK', text(version)}
end
if ARGV[7] ~= '' and stale(ARGV[7], KEYS[1], KEYS[11], KEYS[10]) then return {'FENCED'} end
if expected > 0 and not there then return {'GONE'} end
if version ~= expected then return {'CONFLICT', text(version)} end

local known = {[sid] = true}
for i = 1, math.max(k, 0) do known[ARGV[12 + i]] = true end
if k >= 0 then
  for _, other in ipairs(redis.call('ZRANGE', KEYS[5], '(' .. text(now), '+inf', 'BYSCORE')) do
    if not known[other] then return {'AGAIN'} end
  end
end
for i = 1, math.max(k, 0) do
  local rival, other = KEYS[rivals + i], ARGV[12 + i]
  if alive(rival, now) and redis.call('HGET', rival, 'status') == 'active' then
    redis.call('HSET', rival, 'status', 'inactive', 'desired', 'stopped', 'updated_at', text(now))
    local grown = redis.call('HINCRBY', rival, 'version', 1)
    local expires = tonumber(redis.call('HGET', rival, 'expires_at'))
    redis.call('ZREM', KEYS[7], other)
    for j = 12, 11 + d do redis.call('ZREM', KEYS[j], other) end
    put(KEYS[8], other, expires, now)
    put(KEYS[9], other, expires, now)
    announce(KEYS[4], other, ARGV[6], 'updated', text(grown))
  end
end

-- What an expired session left. A server that is out of memory refuses only the first write of a
-- script, so that must be one that it may refuse: nothing is removed unless something is there.
for i = 1, 3 do
  if not there and redis.call('EXISTS', KEYS[i]) == 1 then redis.call('UNLINK', KEYS[i]) end
end
local expires = now + ttl
local grown = ARGV[5] == 'touched' and version or math.max(version, tonumber(ARGV[8])) + 1
local last = {}  -- others may write between an operation and its repetition
for known in string.gmatch(op .. ' ' .. ops, '%S+') do
  if #last < 16 then last[#last + 1] = known end
end
local fields = {'version', text(grown), 'ops', table.concat(last, ' '), 'updated_at', text(now),
  'last_activity', text(now), 'expires_at', text(expires), 'ttl_ms', text(ttl)}
if not there then fields[#fields + 1] = 'created_at'; fields[#fields + 1] = text(now) end
for i = 13 + math.max(k, 0), #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
for i = 1, 3 do redis.call('PEXPIREAT', KEYS[i], text(expires)) end
put(KEYS[5], sid, expires, now)
put(KEYS[6], sid, expires, now)
for i = leave + 1, leave + m do redis.call('ZREM', KEYS[i], sid) end
for i = enter + 1, enter + n do put(KEYS[i], sid, expires, now) end
announce(KEYS[4], sid, ARGV[6], ARGV[5], text(grown))
return {'OK', text(grown)}
