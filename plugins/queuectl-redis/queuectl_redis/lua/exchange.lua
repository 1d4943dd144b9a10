-- with: jobs
-- Hand in what ended, promote what has become due, claim what is next: one turn of a pool.
local pool, lease, want = take(), number(), number()
local ceilings, only = {}, nil
local served = number() -- nil: any queue
if served then
  only = {}
  for _ = 1, served do
    local name = take()
    only[#only + 1] = name
    ceilings[name] = number() or want
  end
end
local PROMOTED = 100 -- the most that one turn promotes

-- -- settle ---------------------------------------------------------------------------------------

local function take_settlement(texts)
  local made = {
    id = take(),
    k = number(),
    s = number(),
    t = take(),
    l = take(),
    y = take(),
    released = take() == '1',
    delay = number(),
    outcome = take(),
    kind = take(),
    ms = number(),
    bucket = number(),
    stdout = maybe(),
    stderr = maybe(),
    f = take(),
    jobs = {},
    deliveries = {},
  }
  for n = 1, number() do
    made.jobs[n] = take_job(texts)
  end
  made.deliveries = list()
  return made
end

local unstored = {}

local function was_applied(job, token)
  if call('SISMEMBER', P .. 'released:' .. job.seq, int(token)) == 1 then
    return true
  end
  local begin = int(token) .. '\31'
  for n = tonumber(job.o or 0), 1, -1 do
    local attempt = call('HGET', job_key(job.seq), 'a' .. n)
    if attempt and string.sub(attempt, 1, #begin) == begin then
      return true
    end
  end
  return false
end

local function settle(made, texts)
  local seq = seq_of(made.id)
  local job = seq and read(seq)
  if not job then
    return false
  end
  if job.s ~= PROCESSING or job.k ~= made.k then
    return was_applied(job, made.k)
  end
  local state, reason = made.s, made.y
  if job.x and state <= FAILED then
    state, reason = CANCELLED, 'cancelled'
  end
  leave_line(job)
  local holder = job.h
  job.s, job.u, job.y, job.f = state, now, reason, made.f
  if made.released then
    job.n = job.n - 1
    call('SADD', P .. 'released:' .. seq, int(made.k))
  elseif made.outcome ~= '' then
    if state <= FAILED then
      job.r = now + made.delay
    end
    job.o = job.n
    local attempt = { int(made.k), holder, state, state <= FAILED and int(job.r) or '', made.outcome }
    call('HSET', job_key(seq), 'a' .. job.n, table.concat(attempt, '\31'))
    local output = P .. 'o:' .. seq .. ':' .. job.n .. ':'
    for _, stream in ipairs({ 'stdout', 'stderr' }) do
      if made[stream] == '' then
        call('UNLINK', output .. stream) -- pieces may have come before
      elseif made[stream] then
        call('SET', output .. stream, made[stream])
      end
    end
    local line = queue(job.q)
    count(line, 'runs', 1)
    count(line, 'ms', made.ms)
    sample(job.q, state == PENDING and made.kind or MEASURES[state], made.bucket)
  end
  enter_line(job)
  local fields = { 's', job.s, 'u', job.u, 'r', job.r, 'n', job.n, 't', made.t, 'l', made.l, 'd', job.d }
  local gone = { 'h', 'x' }
  for name, value in pairs({ y = job.y, o = job.o or '', f = state == DEAD and job.f or '' }) do
    if value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    else
      gone[#gone + 1] = name
    end
  end
  call('HSET', job_key(seq), unpack(fields))
  call('HDEL', job_key(seq), unpack(gone))
  for _, following in ipairs(made.jobs) do
    if following.i and (string.find(following.i, '^%d+$') or call('HEXISTS', P .. 'ids', following.i) == 1) then
      unstored[#unstored + 1] = following.i
    else
      store(following, texts)
    end
  end
  for n = 1, #made.deliveries, 2 do
    deliver(made.deliveries[n], nil, made.deliveries[n + 1])
  end
  return true
end

local texts = take_texts()
local settlements = {}
for n = 1, number() do
  settlements[n] = take_settlement(texts)
end
local refused = {}
for _, made in ipairs(settlements) do
  if not settle(made, texts) then
    refused[#refused + 1] = made.id
  end
end

-- -- promote --------------------------------------------------------------------------------------

local promoted = 0
while promoted < PROMOTED do
  local due = call('ZRANGEBYSCORE', P .. 'dues', '-inf', now, 'LIMIT', 0, 1)
  if not due[1] then
    break
  end
  local line = queue(due[1])
  for _, seq in ipairs(call('ZRANGEBYSCORE', line.later, '-inf', now, 'LIMIT', 0, PROMOTED - promoted)) do
    local order = call('HMGET', job_key(seq), 'p', 'r')
    call('ZREM', line.later, seq)
    call('ZADD', line.ready, tonumber(order[1]) * RANK + tonumber(order[2]), seq)
    call('HSET', job_key(seq), 'd', 1)
    promoted = promoted + 1
  end
  later[line.name] = true
  mind(line.name)
end
mind_all()
news = news or promoted > 0

-- -- claim ----------------------------------------------------------------------------------------

local claims = {}

local function claim(line, seq)
  local job = read(seq)
  sample(line.name, 'wait', bucket_of(math.max(0, now - job.r)))
  leave_line(job)
  job.s, job.u, job.n, job.k, job.h = PROCESSING, now, job.n + 1, job.k + 1, pool
  enter_line(job)
  call('HSET', job_key(seq), 's', PROCESSING, 'u', now, 'n', job.n, 'k', job.k, 'h', pool, 'd', 0)
  local values = job.values -- as they are now: s, u, n, k, h, d
  values[2], values[6], values[7], values[10], values[11], values[18] = '2', int(now), int(job.n), int(job.k), pool, '0'
  claims[#claims + 1] = told_of(seq, values)
end

-- The open queue whose head is the best, and up to which score it is: where the next best one begins.
local function best()
  if not only then
    local two = call('ZRANGE', P .. 'heads', 0, 1, 'WITHSCORES')
    return two[1], two[4] or '+inf'
  end
  local first, limit, second
  for _, name in ipairs(only) do
    local head = ceilings[name] > 0 and tonumber(call('ZSCORE', P .. 'heads', name) or nil)
    if head and (not limit or head < limit) then
      second = limit
      first, limit = name, head
    elseif head and (not second or head < second) then
      second = head
    end
  end
  return first, second or '+inf'
end

while #claims < want do
  local name, limit = best()
  if not name then
    break
  end
  local line = queue(name)
  local most = math.min(want - #claims, room(line), ceilings[name] or want)
  local seqs = call('ZRANGEBYSCORE', line.ready, '-inf', limit, 'LIMIT', 0, most)
  for _, seq in ipairs(seqs) do
    claim(line, seq)
  end
  if ceilings[name] then
    ceilings[name] = ceilings[name] - #seqs
  end
  mind(name)
end

-- -- answer ---------------------------------------------------------------------------------------

renew(pool, lease)
if #claims < want then
  call('SADD', P .. 'idle', pool)
elseif want > 0 then
  call('SREM', P .. 'idle', pool)
end
if #settlements > 0 or #claims > 0 or promoted > 0 then
  finish(pool)
end
local due = call('ZRANGE', P .. 'dues', 0, 0, 'WITHSCORES')
local cancel = {}
for n, seq in ipairs(call('SMEMBERS', P .. 'x:' .. pool)) do
  cancel[n] = id_of({ seq = seq, i = call('HGET', job_key(seq), 'i') })
end
return { claims, refused, due[2] or '', promoted == PROMOTED and 1 or 0, cancel, unstored, watched(pool) }
