-- delete_record: remove a session with its parts, checkpoints and index entries.
--
-- KEYS  1 record  2 parts  3 checkpoints  4 events  5 … every index that may name it
-- ARGV  1 session id  2 business id
-- Returns 'OK', also when there was none
-- Promise: nothing of the session is left; its data key goes with the record.
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
for i = 5, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
announce(KEYS[4], ARGV[1], ARGV[2], 'deleted', '0')  -- always: a WAIT after a retry counts it
return 'OK'
