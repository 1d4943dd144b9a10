-- with: jobs
-- Somebody wants to see what a running job writes.
local seq, hold = seq_of(take()), number()
local job = seq and read(seq)
if job and job.s == PROCESSING then
  call('ZREMRANGEBYSCORE', P .. 'watched', '-inf', now - 3600000) -- of jobs that nobody watches any more
  call('ZADD', P .. 'watched', now + hold, seq)
  call('PUBLISH', P .. 'wake:' .. job.h, '')
end
return 1
