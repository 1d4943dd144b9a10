-- with: jobs
-- Store new jobs, all or none. Repeated under the same mark, because the reply was lost, it gives the same answer.
local mark = P .. 'done:' .. take()
local before = call('GET', mark)
if before then
  return cjson.decode(before)
end
local texts, jobs = take_texts(), {}
for n = 1, number() do
  jobs[n] = take_job(texts)
  if jobs[n].i and call('HEXISTS', P .. 'ids', jobs[n].i) == 1 then
    return { 'exists', jobs[n].i }
  end
end
local receipts = {}
for n, job in ipairs(jobs) do
  local seq, holder = store(job, texts)
  receipts[2 * n - 1] = seq and id_of(job) or id_of(read(holder))
  receipts[2 * n] = seq and '1' or '0'
end
finish()
call('SET', mark, cjson.encode(receipts), 'EX', 600)
return receipts
