-- with: jobs
-- Some jobs of one or several lines, merged, from a place on; at most so many rows are looked at.
--
-- A line is a zset; the place is (score, member). What is asked of each row beyond its line: queue, state, age, tag,
-- fault, part of the command.
local backwards = take() == '1'
local after = maybe()
local after_score = number()
local limit, looks = number(), number()
local line_names, every_ready = list(), maybe() -- 'r:' or 'l:': that line of every queue
local function set()
  local given = maybe()
  if not given then
    return nil
  end
  local found = {}
  for n = 1, tonumber(given) do
    found[take()] = true
  end
  return found
end
local in_queues, in_states, tagged, faulted = set(), set(), set(), set()
local since, text = number(), maybe()
local CHUNK = 32

if every_ready then
  for _, name in ipairs(call('SMEMBERS', P .. 'queues')) do
    line_names[#line_names + 1] = every_ready .. name
  end
end

-- How many members of a zset come before a place, and whether the next is that very place.
local function before(key, at_score, member)
  local low = call('ZCOUNT', key, '-inf', '(' .. at_score)
  local high = call('ZCOUNT', key, '-inf', at_score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if call('ZRANGE', key, middle, middle)[1] < member then
      low = middle + 1
    else
      high = middle
    end
  end
  local next = call('ZRANGE', key, low, low, 'WITHSCORES')
  return low, next[1] == member and tonumber(next[2]) == tonumber(at_score)
end

local function refill(line)
  local first, last
  if backwards then
    first, last = math.max(0, line.rank - CHUNK + 1), line.rank
  else
    first, last = line.rank, line.rank + CHUNK - 1
  end
  line.buffer, line.place = {}, 1
  if last < 0 then
    return
  end
  local got = call('ZRANGE', line.key, first, last, 'WITHSCORES')
  for n = 1, #got, 2 do
    local entry = { seq = got[n], text = got[n + 1], score = tonumber(got[n + 1]) }
    table.insert(line.buffer, backwards and 1 or #line.buffer + 1, entry)
  end
  line.rank = line.rank + (backwards and -CHUNK or CHUNK)
end

local lines = {}
for _, name in ipairs(line_names) do
  local line = { key = P .. name }
  if after then
    local rank, there = before(line.key, int(after_score), after)
    line.rank = backwards and rank - 1 or rank + (there and 1 or 0)
  else
    line.rank = backwards and call('ZCARD', line.key) - 1 or 0
  end
  refill(line)
  lines[#lines + 1] = line
end

local function sooner(a, b)
  if a.score ~= b.score then
    return (a.score < b.score) ~= backwards
  end
  return (a.seq < b.seq) ~= backwards
end

local function advance()
  local chosen
  for _, line in ipairs(lines) do
    local head = line.buffer[line.place]
    if head and (not chosen or sooner(head, chosen.buffer[chosen.place])) then
      chosen = line
    end
  end
  if not chosen then
    return nil
  end
  local entry = chosen.buffer[chosen.place]
  chosen.place = chosen.place + 1
  if chosen.place > #chosen.buffer then
    refill(chosen)
  end
  return entry
end

local function has_text(seq)
  local spec = call('GET', P .. 'd:' .. seq)
  local size, rest = string.match(spec, '^(%d+):()')
  local first, last = string.find(spec, text, rest, true)
  return first and last < rest + tonumber(size)
end

local function matches(job)
  if in_queues and not in_queues[job.q] or in_states and not in_states[tostring(job.s)] then
    return false
  end
  if since and tonumber(job.c) < since then
    return false
  end
  if faulted and not (job.s == DEAD and faulted[job.f]) then
    return false
  end
  if tagged then
    local any = false
    for _, tag in ipairs(job.g and cjson.decode(job.g) or {}) do
      any = any or tagged[tag]
    end
    if not any then
      return false
    end
  end
  return not text or has_text(job.seq)
end

local found, looked, last, latest = {}, 0, nil, nil
while true do
  local entry = advance()
  if not entry then
    last = nil
    break
  end
  if #found >= limit or looked >= looks then
    break
  end
  last, looked = entry, looked + 1
  if entry.seq ~= latest then -- a job stands in the line of each of its tags
    latest = entry.seq
    local job = read(entry.seq)
    if job and matches(job) then
      found[#found + 1] = row(entry.seq)
    end
  end
end
return { found, last and last.text or '', last and last.seq or '', looked }
