-- list_living: return the sessions in an index that have not expired.
--
-- KEYS  1 index
-- Returns {now in ms, session id, session id …}
-- Promise: writes nothing; an expired session is never named, whether or not it was trimmed.
local now = text(now_ms())
local found = redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE')
table.insert(found, 1, now)
return found
