-- Runs inside Redis; touches the keys of one shard only, so one slot of a cluster.
-- KEYS: user, history, marks. ARGV: the versions of user and history that the reader has, empty for none.
-- Returns: version of the user; 1 when only the fields follow that changed since the reader's version; the fields
-- (nothing when the reader has that version); version of the history, its fields (the same); marks.
local byte, sub, call = string.byte, string.sub, redis.call

-- The names of the fields that changed since a version; nil if the change log (see merge.lua) does not reach back to it.
local function changed_since(log, version, known)
  if sub(log, 1, 8) ~= version then return end
  local names, seen, at = {}, {}, 1
  while at <= #log do
    if sub(log, at, at + 7) == known then return names end
    local last = at + 9 + byte(log, at + 8) * 256 + byte(log, at + 9)
    at = at + 10
    while at <= last do
      local to = at + 1 + byte(log, at) * 256 + byte(log, at + 1)
      local name = sub(log, at + 2, to)
      if not seen[name] then names[#names + 1], seen[name] = name, true end
      at = to + 1
    end
  end
end

local function fields_of(hash, names)
  local values, flat = call('HMGET', hash, unpack(names)), {}
  for i = 1, #names do flat[2 * i - 1], flat[2 * i] = names[i], values[i] end
  return flat
end

local found, lists = call('HMGET', KEYS[1], '#', '~'), call('HGET', KEYS[2], '#') or ''
local version, fields, names = found[1] or '', false, nil
if version ~= ARGV[1] then
  names = changed_since(found[2] or '', version, ARGV[1])
  fields = names and fields_of(KEYS[1], names) or call('HGETALL', KEYS[1])
end
local history = lists ~= ARGV[2] and call('HGETALL', KEYS[2])
return {version, names and 1 or 0, fields, lists, history, call('HGETALL', KEYS[3])}
