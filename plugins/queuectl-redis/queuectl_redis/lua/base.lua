-- What every step begins with. Each step is one script: this file, the parts that its first line names, and the step.
--
-- KEYS[1] is the prefix of all keys (with its hash tag); ARGV begins with the identity of the storage and the moment,
-- '' for the server's own clock. What goes before is read and checked before the first write: Redis takes nothing back.

local P = KEYS[1]
local call = redis.call
local at = 0

local function take()
  at = at + 1
  return ARGV[at]
end

local function number()
  return tonumber(take())
end

-- What may be missing arrives with a '=' before it, or as ''.
local function maybe()
  local text = take()
  if text == '' then
    return nil
  end
  return string.sub(text, 2)
end

local function list()
  local found = {}
  for n = 1, number() do
    found[n] = take()
  end
  return found
end

-- `tostring` and `..` give 14 digits only; a number that is passed to Redis is exact by itself.
local function int(value)
  return string.format('%.0f', value)
end

-- A job's number as it stands in keys and members: of fixed width, so that the order of bytes is that of numbers.
local function wide(seq)
  return string.format('%013.0f', seq)
end

local MINUTE = 60000
local RANK = 4398046511104 -- 2^42: a score is rank * 2^42 + run_at, exact within 2^53
local PENDING, FAILED, PROCESSING, COMPLETED, DEAD, CANCELLED = 0, 1, 2, 3, 4, 5
local MEASURES = { [0] = 'pending', 'failed', 'processing', 'completed', 'dead', 'cancelled' }

if call('GET', P .. 'identity') ~= take() then
  return redis.error_reply('GONE the storage that was opened is not here any more')
end

local now = take()
if now == '' then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(now)
end

local function changed()
  call('INCR', P .. 'version')
end

-- Wake the pools that wait for work, but one. Who has gone without a word is found out here.
local function wake(but)
  for _, pool in ipairs(call('SMEMBERS', P .. 'idle')) do
    if pool ~= but and call('PUBLISH', P .. 'wake:' .. pool, '') == 0 then
      call('SREM', P .. 'idle', pool)
    end
  end
end
