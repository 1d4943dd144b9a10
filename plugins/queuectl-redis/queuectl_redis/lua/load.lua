-- with: jobs
-- Insert jobs of another storage with all that happened to them. How many were new.
local highest, texts, jobs = number(), take_texts(), {}
for n = 1, number() do
  local job = take_job(texts)
  job.number = number()
  for _, name in ipairs({ 's', 'c', 'u', 'n', 't', 'l', 'k', 'o' }) do
    job[name] = number()
  end
  job.y, job.f = take(), take()
  job.attempts, job.audits = {}, {}
  for m = 1, number() do
    job.attempts[m] = { n = take(), text = take(), ms = number(), stdout = maybe(), stderr = maybe() }
  end
  job.audits = list()
  jobs[n] = job
end
if highest > tonumber(call('GET', P .. 'seq') or 0) then
  call('SET', P .. 'seq', highest)
end

-- The number that a job is stored under; nil if it is left alone.
local function place(job)
  if call('EXISTS', job_key(wide(job.number))) == 0 then
    return wide(job.number)
  end
  return job.i and wide(call('INCR', P .. 'seq')) or nil
end

local new = 0
for _, job in ipairs(jobs) do
  local known = seq_of(job.i or int(job.number))
  local taken = job.s < COMPLETED and job.K and call('HEXISTS', P .. 'uk', job.K) == 1
  job.seq = not known and not taken and place(job) or nil
  if job.seq then
    new = new + 1
    if job.i then
      job.k = math.max(job.k, tonumber(call('GET', P .. 'floor') or 0))
    end
    enter_line(job)
    write(job, texts)
    if job.K and job.s < COMPLETED then
      call('HSET', P .. 'uk', job.K, job.seq)
    end
    local line = queue(job.q)
    for _, attempt in ipairs(job.attempts) do
      call('HSET', job_key(job.seq), 'a' .. attempt.n, attempt.text)
      count(line, 'runs', 1)
      count(line, 'ms', attempt.ms)
      for _, stream in ipairs({ 'stdout', 'stderr' }) do
        if attempt[stream] then
          call('SET', P .. 'o:' .. job.seq .. ':' .. attempt.n .. ':' .. stream, attempt[stream])
        end
      end
    end
    for _, audit in ipairs(job.audits) do
      call('RPUSH', P .. 'audits:' .. job.seq, audit)
    end
  end
end
if new > 0 then
  finish()
end
return new
