-- with: jobs
-- Cancel, retry or delete jobs of given numbers, until so many are changed. What no longer fits is left alone.
local mark = P .. 'done:' .. take()
local before = call('GET', mark)
if before then
  return cjson.decode(before)
end
local action, actor, audit = take(), take(), take()
local limit = number()
local states, faults = {}, nil
for _, state in ipairs(list()) do
  states[tonumber(state)] = true
end
local given = number()
if given then
  faults = {}
  for _ = 1, given do
    faults[take()] = true
  end
end
local seqs, targets = {}, {}
for n = 1, number() do
  seqs[n] = take()
  targets[seqs[n]] = list()
end
local EVENTS = { cancel = 'cancelled', retry = 'retried' }

-- What becomes of one job: its state afterwards, '' if it is gone; nil if it is left alone.
local function act(job)
  if action == 'delete' then
    erase(job)
    return ''
  end
  if action == 'retry' then
    if job.s >= COMPLETED and job.K and call('HEXISTS', P .. 'uk', job.K) == 1 then
      return nil
    end
    leave_line(job)
    job.s, job.r, job.u = PENDING, now, now
    enter_line(job)
    if job.K then
      call('HSET', P .. 'uk', job.K, job.seq)
    end
    call('HSET', job_key(job.seq), 's', PENDING, 'r', now, 'u', now, 'd', job.d)
    call('HDEL', job_key(job.seq), 't', 'l', 'y', 'f')
    return PENDING
  end
  if job.s == PROCESSING then
    if job.x then
      return nil
    end
    call('HSET', job_key(job.seq), 'x', 1)
    call('SADD', P .. 'x:' .. job.h, job.seq)
    call('PUBLISH', P .. 'wake:' .. job.h, '')
    return PROCESSING
  end
  leave_line(job)
  job.s, job.u = CANCELLED, now
  enter_line(job)
  local reason = actor ~= '' and 'cancelled by ' .. actor or 'cancelled'
  call('HSET', job_key(job.seq), 's', CANCELLED, 'u', now, 'd', 0, 'y', reason)
  return CANCELLED
end

local changes = {}
for _, seq in ipairs(seqs) do
  local job = #changes < limit and read(seq)
  if job and states[job.s] and (not faults or faults[job.f]) then
    local was = job.s
    local became = act(job)
    if became then
      changes[#changes + 1] = { id_of(job), was, became }
      if became ~= '' then
        call('RPUSH', P .. 'audits:' .. seq, int(now) .. '\31' .. audit)
        if became ~= PROCESSING then
          for _, target in ipairs(targets[seq]) do
            deliver(target, EVENTS[action], row(seq))
          end
        end
      end
    end
  end
end
if #changes > 0 then
  news = true
  finish()
  call('SET', mark, cjson.encode(changes), 'EX', 600)
end
return changes
