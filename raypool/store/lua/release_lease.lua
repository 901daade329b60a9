-- release_lease: let go of a lease; nothing happens when it is somebody else's by now.
--
-- KEYS  1 lease  2 events
-- ARGV  1 holder id  2 token  3 business id
-- Returns 1 released, 0 it was not ours
local cur = redis.call('HMGET', KEYS[1], 'id', 'token')
if cur[1] ~= ARGV[1] or cur[2] ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
announce(KEYS[2], '', ARGV[3], 'released', ARGV[2])
return 1
