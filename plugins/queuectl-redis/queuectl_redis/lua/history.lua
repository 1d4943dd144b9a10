-- with: jobs
-- The attempts and audits of a job.
local seq = seq_of(take())
if not seq then
  return { {}, {} }
end
local attempts = {}
for n = 1, tonumber(call('HGET', job_key(seq), 'o') or 0) do
  local attempt = call('HGET', job_key(seq), 'a' .. n)
  if attempt then
    attempts[#attempts + 1] = { n, attempt }
  end
end
return { attempts, call('LRANGE', P .. 'audits:' .. seq, 0, -1) }
