-- KEYS: pointer. ARGV: the generation that must be live, the one that shall be live, the one that is live by default.
-- Returns the one that is live now.
local live = redis.call('GET', KEYS[1]) or ARGV[3]
if live ~= ARGV[1] then return live end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
