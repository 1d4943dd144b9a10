-- with: jobs
-- A part of what was kept of an ended attempt's stream; with size 0 its length.
local id, attempt, stream, offset, size = take(), take(), take(), number(), number()
local seq = seq_of(id)
if not seq or call('HEXISTS', job_key(seq), 'a' .. attempt) == 0 then
  return size == 0 and 0 or ''
end
local key = P .. 'o:' .. seq .. ':' .. attempt .. ':' .. stream
if size == 0 then
  return call('STRLEN', key)
end
return call('GETRANGE', key, offset, offset + size - 1)
