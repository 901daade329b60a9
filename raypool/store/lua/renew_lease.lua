-- renew_lease: make a lease last its ttl again from now, also when it ran out or the server lost it.
--
-- KEYS  1 lease  2 last fencing token  3 events
-- ARGV  1 holder id  2 token  3 ttl in ms  4 holder as JSON  5 since in ms
--       6 ttl of the token counter in ms  7 business id
--       8 ids of the master keys that the holder has, divided by spaces
-- Returns 1 it is held, 0 it is lost
-- Promise: an owner goes on with its token if nobody held the business in between. Whoever did has a
-- lease, or moved the counter beyond this token; so did the one that released it. A counter that is
-- missing or behind was lost with the server, and is put right.
local cur = redis.call('HMGET', KEYS[1], 'id', 'token')
if cur[1] and (cur[1] ~= ARGV[1] or cur[2] ~= ARGV[2]) then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])  -- first: a server without memory takes it, and then the rest
if not cur[1] then
  redis.call('HSET', KEYS[1], 'id', ARGV[1], 'holder', ARGV[4], 'token', ARGV[2], 'since', ARGV[5],
    'keys', ARGV[8])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  announce(KEYS[3], '', ARGV[7], 'acquired', ARGV[2])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[6])
return 1
