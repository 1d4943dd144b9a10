-- with: jobs
-- What was laid out from an offset on: where it begins, and the bytes.
local id, attempt, stream, offset = take(), take(), take(), number()
local seq = seq_of(id)
local job = seq and call('HMGET', job_key(seq), 's', 'n')
local runs = job and job[1] == '2' and job[2] == attempt
local kept = runs and call('HMGET', P .. 'shown:' .. seq .. ':' .. stream, 'attempt', 'begin', 'data')
if not kept or kept[1] ~= attempt then
  return { offset, '' }
end
local begin = tonumber(kept[2])
return { math.max(begin, offset), string.sub(kept[3], math.max(0, offset - begin) + 1) }
