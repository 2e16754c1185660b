-- KEYS: pointer. ARGV: the expected live generation, the new one, the default one.
-- Returns the live generation after the call.
local live = redis.call('GET', KEYS[1]) or ARGV[3]
if live ~= ARGV[1] then return live end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
