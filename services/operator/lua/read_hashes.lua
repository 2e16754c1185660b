-- KEYS: hashes of one slot. Returns their fields as of one moment, in that order.
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HGETALL', KEYS[i]) end
return found
