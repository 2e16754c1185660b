-- KEYS: lease. ARGV: the value to delete. Returns 1 where it was there.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
