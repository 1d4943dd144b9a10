-- Jobs, queues and what is kept of them: every line that a job stands in, and every figure, is changed here alone.
--
--   j:<seq>   hash, the fields below; a<n>: the n-th attempt      d:<seq>  what was asked for: opaque, but for the command
--   all       zset of numbers                                      ids, names, uk  given ids, the same in order, unique keys
--   q:<queue> hash: paused, cap, reason, runs, ms, '0'…'5': how many are in each state
--   r:<queue> zset of ready jobs by score; heads: zset of open queues by the score of their first
--   l:<queue> zset of jobs to come by run_at; dues: zset of queues by the run_at of their first
--   s:1 zset of failed jobs by run_at; s:2 of processing ones by claim; f:<state>, f:<state>:<queue> of ended ones
--   t:<tag>, faults, ft:<fault>   of:<pool>: hash seq -> token; x:<pool>: its jobs that are to be cancelled
--   dl:<id> a delivery; due:<target>, waits:<target>: by when it is due, by number; sent:<target>: what became of them
--   watched: zset of jobs by until when; shown:<seq>:<stream>: hash attempt, begin, data
--   m:<minute>: histogram         texts, uses: long texts that many jobs share, and by how many

-- q queue, s state, p rank (-priority), r run_at, c created, u updated, n attempts, t tries, l losses, k token, h pool,
-- x to be cancelled, y reason, i given id, K unique key, e environment's digest, o latest ended attempt,
-- d 0 not waiting, 1 ready, 2 to come, g tags, f fault
local FIELDS = { 'q', 's', 'p', 'r', 'c', 'u', 'n', 't', 'l', 'k', 'h', 'x', 'y', 'i', 'K', 'e', 'o', 'd', 'g', 'f' }

local queues, minutes, uses = {}, {}, {}
local touched, later = {}, {} -- queues whose head may have changed, and whose next job to come
local news = false

local function job_key(seq)
  return P .. 'j:' .. seq
end

-- A job's fields by name; nil if there is none.
local function read(seq)
  local values = call('HMGET', job_key(seq), unpack(FIELDS))
  if not values[1] then
    return nil
  end
  local job = { seq = seq, values = values }
  for n, name in ipairs(FIELDS) do
    job[name] = values[n]
  end
  job.s, job.p, job.r = tonumber(job.s), tonumber(job.p), tonumber(job.r)
  job.n, job.k = tonumber(job.n or 0), tonumber(job.k or 0)
  return job
end

local function id_of(job)
  return job.i or int(tonumber(job.seq))
end

-- The number of the job of an id: an issued one is its number, a given one is looked up.
local function seq_of(id)
  if #id <= 13 and string.find(id, '^[1-9]%d*$') then
    local seq = string.rep('0', 13 - #id) .. id
    if call('EXISTS', job_key(seq)) == 1 and call('HEXISTS', job_key(seq), 'i') == 0 then
      return seq
    end
    return nil
  end
  return call('HGET', P .. 'ids', id) or nil
end

-- How a job is told to whoever asked: number, fields in their order, latest ended attempt, what was asked for,
-- captured environment.
local function told_of(seq, values)
  local told = { seq }
  for n = 1, #FIELDS do
    told[n + 1] = values[n]
  end
  local ended, environment = values[17], values[16]
  told[#FIELDS + 2] = ended and call('HGET', job_key(seq), 'a' .. ended)
  told[#FIELDS + 3] = call('GET', P .. 'd:' .. seq)
  told[#FIELDS + 4] = environment and call('HGET', P .. 'texts', environment)
  return told
end

local function row(seq)
  local values = call('HMGET', job_key(seq), unpack(FIELDS))
  return values[1] and told_of(seq, values)
end

-- -- queues and figures ---------------------------------------------------------------------------

local function queue(name)
  local found = queues[name]
  if not found then
    local kept = call('HMGET', P .. 'q:' .. name, 'paused', 'cap', '2')
    found = {
      name = name,
      key = P .. 'q:' .. name,
      ready = P .. 'r:' .. name,
      later = P .. 'l:' .. name,
      paused = kept[1] == '1',
      cap = kept[2] and tonumber(kept[2]),
      running = tonumber(kept[3] or 0),
      figures = {},
    }
    queues[name] = found
  end
  return found
end

local function count(line, figure, n)
  line.figures[figure] = (line.figures[figure] or 0) + n
  if figure == '2' then
    line.running = line.running + n
    if line.cap then
      touched[line.name] = true
    end
  end
end

local function room(line)
  if line.paused then
    return 0
  end
  return line.cap and math.max(0, line.cap - line.running) or 1000000
end

-- Keep the heads right: a queue that is paused, full or empty is not among them, and costs a claim nothing.
local function mind(name)
  local line = queue(name)
  local first = room(line) > 0 and call('ZRANGE', line.ready, 0, 0, 'WITHSCORES') or {}
  if first[1] then
    if call('ZADD', P .. 'heads', first[2], name) == 1 then
      news = true
    end
  else
    call('ZREM', P .. 'heads', name)
  end
  if later[name] then
    local due = call('ZRANGE', line.later, 0, 0, 'WITHSCORES')
    if due[1] then
      call('ZADD', P .. 'dues', due[2], name)
    else
      call('ZREM', P .. 'dues', name)
    end
  end
  touched[name], later[name] = nil, nil
end

local function mind_all()
  for name in pairs(touched) do
    mind(name)
  end
end

-- The histogram bucket of a duration, as model.bucket_of says.
local function bucket_of(ms)
  if ms < 8 then
    return math.max(0, ms)
  end
  local _, bits = math.frexp(ms)
  local octave = bits - 3
  return 4 * octave + math.floor(ms / 2 ^ octave)
end

local function sample(name, measure, bucket)
  local field = measure .. ' ' .. int(bucket) .. ' ' .. name
  minutes[field] = (minutes[field] or 0) + 1
end

-- Write what was summed up while the step went on. Every step that changes jobs ends with it.
local function finish(but)
  mind_all()
  for _, line in pairs(queues) do
    for figure, n in pairs(line.figures) do
      if n ~= 0 then
        call('HINCRBY', line.key, figure, n)
      end
    end
  end
  if next(minutes) then
    local minute = math.floor(now / MINUTE)
    call('ZADD', P .. 'minutes', minute, minute)
    for field, n in pairs(minutes) do
      call('HINCRBY', P .. 'm:' .. int(minute), field, n)
    end
  end
  for digest, n in pairs(uses) do
    if call('HINCRBY', P .. 'uses', digest, n) <= 0 then
      call('HDEL', P .. 'uses', digest)
      call('HDEL', P .. 'texts', digest)
    end
  end
  changed()
  if news then
    wake(but)
  end
end

-- -- the lines that a job stands in ---------------------------------------------------------------

local function score(job)
  return job.p * RANK + job.r
end

local function leave_line(job)
  local line, seq = queue(job.q), job.seq
  count(line, tostring(job.s), -1)
  if job.s <= FAILED then
    call('ZREM', job.d == '1' and line.ready or line.later, seq)
    touched[job.q] = true
    later[job.q] = later[job.q] or job.d ~= '1'
    if job.s == FAILED then
      call('ZREM', P .. 's:1', seq)
    end
  elseif job.s == PROCESSING then
    call('ZREM', P .. 's:2', seq)
    call('HDEL', P .. 'of:' .. job.h, seq)
    if call('ZREM', P .. 'watched', seq) == 1 then
      call('UNLINK', P .. 'shown:' .. seq .. ':stdout', P .. 'shown:' .. seq .. ':stderr')
    end
    if job.x then
      call('SREM', P .. 'x:' .. job.h, seq)
    end
  else
    call('ZREM', P .. 'f:' .. job.s, seq)
    call('ZREM', P .. 'f:' .. job.s .. ':' .. job.q, seq)
    if job.s == DEAD then
      call('ZREM', P .. 'ft:' .. job.f, seq)
      if tonumber(call('ZINCRBY', P .. 'faults', -1, job.f)) <= 0 then
        call('ZREM', P .. 'faults', job.f)
      end
    end
  end
end

-- Where a job of state `job.s` belongs: it is new in that state, and `job.u` is since when.
local function enter_line(job)
  local line, seq = queue(job.q), job.seq
  count(line, tostring(job.s), 1)
  job.d = '0'
  if job.s <= FAILED then
    if job.r <= now then
      job.d = '1'
      call('ZADD', line.ready, score(job), seq)
    else
      job.d = '2'
      call('ZADD', line.later, job.r, seq)
      later[job.q] = true
    end
    news = true
    touched[job.q] = true
    if job.s == FAILED then
      call('ZADD', P .. 's:1', job.r, seq)
    end
  elseif job.s == PROCESSING then
    call('ZADD', P .. 's:2', job.u, seq)
    call('HSET', P .. 'of:' .. job.h, seq, job.k)
  else
    call('ZADD', P .. 'f:' .. job.s, job.u, seq)
    call('ZADD', P .. 'f:' .. job.s .. ':' .. job.q, job.u, seq)
    if job.s == DEAD then
      call('ZADD', P .. 'ft:' .. job.f, job.u, seq)
      call('ZINCRBY', P .. 'faults', 1, job.f)
    end
    if job.K and call('HGET', P .. 'uk', job.K) == seq then
      call('HDEL', P .. 'uk', job.K)
    end
  end
end

-- -- jobs come and go -----------------------------------------------------------------------------

-- Texts that jobs of this call share: they come before the jobs, which name them by their place.
local function take_texts()
  local texts = { digests = {} }
  for n = 1, number() do
    local text = take()
    local digest = redis.sha1hex(text)
    texts.digests[n] = digest
    texts[digest] = text
  end
  return texts
end

local function take_job(texts)
  return {
    i = maybe(),
    q = take(),
    p = number(),
    r = number(), -- nil: now
    K = maybe(),
    tags = list(),
    targets = list(), -- whom it is told to that the job is there
    e = texts.digests[number()],
    spec = take(),
  }
end

-- Write a job that is not there yet; `job.seq` is its number.
local function write(job, texts)
  local seq, tags = job.seq, job.tags
  local fields = { 'q', job.q, 's', job.s, 'p', job.p, 'r', job.r, 'c', job.c, 'u', job.u, 'd', job.d }
  for _, name in ipairs({ 'i', 'K', 'e', 'n', 't', 'l', 'k', 'y', 'o', 'f' }) do
    local value = job[name]
    if value and value ~= 0 and value ~= '' and value ~= '0' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  if #tags > 0 then
    fields[#fields + 1] = 'g'
    fields[#fields + 1] = cjson.encode(tags)
  end
  call('HSET', job_key(seq), unpack(fields))
  call('SET', P .. 'd:' .. seq, job.spec)
  call('ZADD', P .. 'all', seq, seq)
  call('SADD', P .. 'queues', job.q)
  if job.i then
    call('HSET', P .. 'ids', job.i, seq)
    call('ZADD', P .. 'names', 0, job.i)
  end
  for _, tag in ipairs(tags) do
    call('ZADD', P .. 't:' .. tag, seq, seq)
  end
  if job.e then
    call('HSETNX', P .. 'texts', job.e, texts[job.e])
    uses[job.e] = (uses[job.e] or 0) + 1
  end
end

-- An event on its way to a durable notifier. `told` is its text, or the row of a job that it is made of.
local function deliver(target, kind, told)
  local id = call('INCR', P .. 'last_delivery')
  local event = kind and { 'k', kind, 'r', cjson.encode(told) } or { 'e', told }
  call('HSET', P .. 'dl:' .. wide(id), 't', target, 'at', now, unpack(event))
  call('ZADD', P .. 'due:' .. target, now, wide(id))
  call('ZADD', P .. 'waits:' .. target, id, wide(id))
  call('SADD', P .. 'targets', target)
end

-- Store a new job; its number, or nil and the number of the unfinished job that has its key.
local function store(job, texts)
  if job.K then
    local holder = call('HGET', P .. 'uk', job.K)
    if holder then
      return nil, holder
    end
  end
  job.seq = wide(call('INCR', P .. 'seq'))
  job.s, job.c, job.u, job.r = PENDING, now, now, job.r or now
  job.k = job.i and tonumber(call('GET', P .. 'floor') or 0) or 0
  enter_line(job)
  sample(job.q, 'enqueued', 0)
  write(job, texts)
  if job.K then
    call('HSET', P .. 'uk', job.K, job.seq)
  end
  for _, target in ipairs(job.targets) do
    deliver(target, 'enqueued', row(job.seq))
  end
  return job.seq
end

-- Remove a job with all that is known of it.
local function erase(job)
  local seq = job.seq
  leave_line(job)
  if job.K and call('HGET', P .. 'uk', job.K) == seq then
    call('HDEL', P .. 'uk', job.K)
  end
  if job.i then
    call('HDEL', P .. 'ids', job.i)
    call('ZREM', P .. 'names', job.i)
    if job.k > tonumber(call('GET', P .. 'floor') or 0) then
      call('SET', P .. 'floor', job.k)
    end
  end
  for _, tag in ipairs(job.g and cjson.decode(job.g) or {}) do
    call('ZREM', P .. 't:' .. tag, seq)
  end
  if job.e then
    uses[job.e] = (uses[job.e] or 0) - 1
  end
  call('ZREM', P .. 'all', seq)
  call('UNLINK', job_key(seq), P .. 'd:' .. seq, P .. 'audits:' .. seq, P .. 'released:' .. seq)
  for n = 1, job.n + 1 do
    local output = P .. 'o:' .. seq .. ':' .. n
    call('UNLINK', output .. ':stdout', output .. ':stderr')
  end
end

-- The jobs of a pool that somebody watches. Few jobs are watched, and seldom.
local function watched(pool)
  local ids = {}
  for _, seq in ipairs(call('ZRANGEBYSCORE', P .. 'watched', '(' .. int(now), '+inf')) do
    if call('HGET', job_key(seq), 'h') == pool then
      ids[#ids + 1] = id_of({ seq = seq, i = call('HGET', job_key(seq), 'i') })
    end
  end
  return ids
end

-- Renew a pool's lease. A pool that is not known becomes known under its id alone.
local function renew(pool, lease)
  call('ZADD', P .. 'leases', now + lease, pool)
  call('HSETNX', P .. 'pools', pool, '')
end
