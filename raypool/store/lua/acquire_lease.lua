-- acquire_lease: take the right to act for a business.
--
-- KEYS  1 lease  2 last fencing token  3 events
-- ARGV  1 holder id  2 holder as JSON  3 ttl in ms  4 id of a holder known to be dead, or ''
--       5 ttl of the token counter in ms  6 business id
--       7 ids of the master keys that the holder has, divided by spaces
-- Returns {'OK', token, since} | {'HELD', token, since, holder as JSON, remaining ms}
-- Promise: at most one holder; the same holder asking again gets the same token (a lost reply cannot
-- strand the lease); the token grows, also when its counter was lost (it follows the clock, in us).
local now = now_us()
local cur = redis.call('HMGET', KEYS[1], 'id', 'token', 'since', 'holder')
if cur[1] == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'OK', cur[2], cur[3]}
end
if cur[1] and cur[1] ~= ARGV[4] then
  return {'HELD', cur[2], cur[3], cur[4], text(math.max(redis.call('PTTL', KEYS[1]), 0))}
end
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(cur[2] or '0'))
local token, since = text(math.max(last + 1, now)), text(math.floor(now / 1000))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'holder', ARGV[2], 'token', token, 'since', since,
  'keys', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], token, 'PX', ARGV[5])
announce(KEYS[3], '', ARGV[6], 'acquired', token)
return {'OK', token, since}
