-- read_record: return a session's record as one moment shows it.
--
-- KEYS  1 record
-- Returns field, value, field, value …; nothing when there is none or it has expired
-- Promise: writes nothing.
if not alive(KEYS[1], now_ms()) then return {} end
return redis.call('HGETALL', KEYS[1])
