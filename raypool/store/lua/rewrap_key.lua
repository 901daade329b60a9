-- rewrap_key: put a data key that was wrapped with another master key where the old wrapping is.
--
-- KEYS  1 record, or the fleet's meta record  2 lease (of a record only)
-- ARGV  1 field that holds the key  2 the wrapping that was read  3 the new one
--       4 id of the master key that the new one needs
-- Returns {'OK'} | {'CHANGED'} something else is there by now, or nothing
--         | {'OWNER', holder as JSON} its owner has no such master key and could not read it any more
-- Promise: nothing but this field moves, neither version nor expiry; the key inside is the same, so
-- what an owner writes meanwhile stays readable; applied once, also when it is repeated.
local there = redis.call('HGET', KEYS[1], ARGV[1])
if there ~= ARGV[2] and there ~= ARGV[3] then return {'CHANGED'} end
if KEYS[2] then
  local lease = redis.call('HMGET', KEYS[2], 'keys', 'holder')
  local known = ' ' .. (lease[1] or '') .. ' '
  if lease[2] and not string.find(known, ' ' .. ARGV[4] .. ' ', 1, true) then
    return {'OWNER', lease[2]}
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])  -- also when it is there: a WAIT after a retry counts it
return {'OK'}
