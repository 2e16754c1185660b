-- Runs inside Redis; touches the keys of one shard only, so one slot of a cluster.
-- Values are compared byte by byte, because Lua's `<` on strings depends on the server's locale.
-- KEYS: marks, forgotten, then the keys of each operation in turn.
-- ARGV: after, upto, mark field, version, prefix of playlists, seconds to keep a playlist, lists in a history; then
--   m user n (field value)*n               keys: user             merge registers and the anime list
--   p user playlist value entry            keys: history playlist merge a served playlist
--   f user                                 keys: user history     forget
-- Returns -2, or when the stored mark is lower than `after`: that mark, -1 for none; then nothing was written.
local byte, sub, concat, call = string.byte, string.sub, table.concat, redis.call
local WIDTHS = {@WIDTHS@}
local CHUNK = 1000
local CHANGES = @CHANGES@

local after, upto, field, version = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local playlists, keep_seconds, keep_lists = ARGV[5], ARGV[6], tonumber(ARGV[7])
local mark = tonumber(call('HGET', KEYS[1], field) or -1)
if after > 0 and mark < after then return mark end

local key, arg = 2, 7
local function next_key() key = key + 1; return KEYS[key] end
local function next_arg() arg = arg + 1; return ARGV[arg] end

local function above(a, b)
  local shorter = #a < #b and #a or #b
  for i = 1, shorter do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local function length(n) return string.char(math.floor(n / 256), n % 256) end

local function higher(a, b) if above(a, b) then return a end return b end

local function join(old, new)
  local parts, at = {}, 1
  for i = 1, #WIDTHS do
    local to = at + WIDTHS[i] - 1
    parts[i] = higher(sub(new, at, to), sub(old, at, to))
    at = to + 1
  end
  return concat(parts)
end

-- Merges fields into a hash, at most CHUNK at a time (Lua's stack is limited). Adds the changed fields to `names`.
-- Returns whether any field changed.
local function merge_chunk(hash, fields, values, names)
  local old = call('HMGET', hash, unpack(fields))
  local changed, n = {}, 0
  for i = 1, #fields do
    local value = values[i]
    if old[i] then value = (byte(fields[i]) == 115) and join(old[i], value) or higher(value, old[i]) end
    if value ~= old[i] then
      changed[n + 1], changed[n + 2] = fields[i], value
      n = n + 2
      names[#names + 1] = length(#fields[i]) .. fields[i]
    end
  end
  if n == 0 then return false end
  call('HSET', hash, unpack(changed))
  return true
end

-- Field ~: the last versions, the newest first. Each has its 8 bytes, the length of the rest (2 bytes), and the names of
-- the fields that changed with it, each after its length. The oldest has no names. At most CHANGES bytes.
local function changes(known, log, names)
  local entry = concat(names)
  if not known or #entry + 20 > CHANGES then return version .. length(0) end
  entry = version .. length(#entry) .. entry
  if sub(log or '', 1, 8) ~= known then return entry .. known .. length(0) end
  local room, at = CHANGES - 10 - #entry, 1
  while at <= #log do
    local after = at + 10 + byte(log, at + 8) * 256 + byte(log, at + 9)
    if after - 1 > room then return entry .. sub(log, 1, at + 7) .. length(0) end
    at = after
  end
  return entry .. log
end

-- A new hash is created from the arguments without merging.
local function create(hash, last)
  while arg < last do
    local to = math.min(arg + 2 * CHUNK, last)
    call('HSET', hash, unpack(ARGV, arg + 1, to))
    arg = to
  end
  call('HSET', hash, '#', version, '~', changes(nil, nil, {}))
end

local function merge(hash, count, gone)
  local names, changed, last = {}, false, arg + 2 * count
  if gone then arg = last; return end
  if count > 0 and call('EXISTS', hash) == 0 then return create(hash, last) end
  while arg < last do
    local fields, values = {}, {}
    for i = 1, math.min((last - arg) / 2, CHUNK) do fields[i], values[i] = next_arg(), next_arg() end
    changed = merge_chunk(hash, fields, values, names) or changed
  end
  if not changed then return end
  local old = call('HMGET', hash, '#', '~')
  call('HSET', hash, '#', version, '~', changes(old[1], old[2], names))
end

-- Keeps the newest lists; an entry begins with its time and only increases.
local function trim(hash)
  if call('HLEN', hash) <= keep_lists + 1 then return end
  local flat, entries = call('HGETALL', hash), {}
  for i = 1, #flat, 2 do
    if flat[i] ~= '#' then entries[#entries + 1] = {flat[i], flat[i + 1]} end
  end
  table.sort(entries, function(a, b)
    if a[2] ~= b[2] then return above(a[2], b[2]) end
    return above(a[1], b[1])
  end)
  for i = keep_lists + 1, #entries do
    call('HDEL', hash, entries[i][1])
    call('DEL', playlists .. entries[i][1])
  end
end

local function serve(history, playlist, id, value, entry)
  local old = call('GET', playlist)
  if not old or above(value, old) then call('SET', playlist, value, 'EX', keep_seconds) end
  old = call('HGET', history, id)
  if not old or above(entry, old) then
    call('HSET', history, id, entry, '#', version)
    trim(history)
  end
end

local function forget(hash, history, user)
  for _, id in ipairs(call('HKEYS', history)) do call('DEL', playlists .. id) end
  call('DEL', hash, history)
  call('SADD', KEYS[2], user)
end

local any_forgotten = call('EXISTS', KEYS[2]) == 1
while arg < #ARGV do
  local op, user = next_arg(), next_arg()
  local gone = any_forgotten and call('SISMEMBER', KEYS[2], user) == 1
  if op == 'm' then
    local hash = next_key()
    merge(hash, tonumber(next_arg()), gone)
  elseif op == 'p' then
    local history, playlist = next_key(), next_key()
    local id, value, entry = next_arg(), next_arg(), next_arg()
    if not gone then serve(history, playlist, id, value, entry) end
  else
    local hash, history = next_key(), next_key()
    forget(hash, history, user)
    any_forgotten = true
  end
end
if upto > mark then call('HSET', KEYS[1], field, ARGV[2]) end
return -2
