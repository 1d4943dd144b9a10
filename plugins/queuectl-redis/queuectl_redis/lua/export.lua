-- with: jobs
-- Jobs with their history, in the order of their numbers.
local after, last, limit = take(), take(), number()
local found = {}
for n, seq in ipairs(call('ZRANGEBYSCORE', P .. 'all', '(' .. after, last, 'LIMIT', 0, limit)) do
  local attempts = {}
  for number = 1, tonumber(call('HGET', job_key(seq), 'o') or 0) do
    local attempt = call('HGET', job_key(seq), 'a' .. number)
    if attempt then
      attempts[#attempts + 1] = { number, attempt }
    end
  end
  found[n] = { row(seq), attempts, call('LRANGE', P .. 'audits:' .. seq, 0, -1) }
end
return found
