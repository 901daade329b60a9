-- renew_lease: make a lease last its ttl again from now.
--
-- KEYS  1 lease
-- ARGV  1 holder id  2 token  3 ttl in ms
-- Returns 1 renewed, 0 lost
local cur = redis.call('HMGET', KEYS[1], 'id', 'token')
if cur[1] ~= ARGV[1] or cur[2] ~= ARGV[2] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
