-- delete_record: remove a session with its parts, checkpoints and index entries.
--
-- KEYS  1 record  2 parts  3 checkpoints  4 events  5 … every index that may name it
-- ARGV  1 session id  2 business id
-- Returns 1 when there was one, 0 when not
-- Promise: nothing of the session is left; its data key goes with the record.
local there = alive(KEYS[1], now_ms()) and 1 or 0
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
for i = 5, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
if there == 1 then announce(KEYS[4], ARGV[1], ARGV[2], 'deleted', '0') end
return there
