-- KEYS: lease. ARGV: token, the rest of the value, ms. Returns 1; 0 where another process holds it.
local found = redis.call('GET', KEYS[1])
if found and string.sub(found, 1, 32) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
