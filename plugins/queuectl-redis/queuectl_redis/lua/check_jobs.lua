-- with: jobs
-- Look whether some jobs stand where they should. How many were looked at, the last number, sentences.
local after, limit = take(), number()
local seqs = call('ZRANGEBYSCORE', P .. 'all', '(' .. after, '+inf', 'LIMIT', 0, limit)
local wrong = {}
for _, seq in ipairs(seqs) do
  local job = read(seq)
  local where
  if not job or call('EXISTS', P .. 'd:' .. seq) == 0 then
    wrong[#wrong + 1] = 'job ' .. int(tonumber(seq)) .. ' is listed but not there'
  else
    if job.s <= FAILED then
      where = call('ZSCORE', P .. (job.d == '1' and 'r:' or 'l:') .. job.q, seq)
    elseif job.s == PROCESSING then
      where = call('HGET', P .. 'of:' .. (job.h or ''), seq)
    else
      where = call('ZSCORE', P .. 'f:' .. job.s, seq)
    end
    if not where then
      wrong[#wrong + 1] = 'job ' .. id_of(job) .. ' does not stand in its line'
    end
  end
end
return { #seqs, seqs[#seqs] or '', wrong }
