-- release_lease: let go of a lease; nothing happens when the business is somebody else's by now.
--
-- KEYS  1 lease  2 last fencing token  3 events
-- ARGV  1 holder id  2 token  3 ttl of the token counter in ms  4 business id
-- Returns 1 released, 0 it was not held any more
-- Promise: the counter moves on, so that a renewal or a write which is still under way comes too
-- late: nothing brings a lease back that was let go, held or run out.
local cur = redis.call('HMGET', KEYS[1], 'id', 'token')
if cur[1] and (cur[1] ~= ARGV[1] or cur[2] ~= ARGV[2]) then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('DEL', KEYS[1])  -- first: a server without memory takes it, and then the rest
redis.call('SET', KEYS[2], text(tonumber(ARGV[2]) + 1), 'PX', ARGV[3])
if not cur[1] then return 0 end
announce(KEYS[3], '', ARGV[4], 'released', ARGV[2])
return 1
