-- A piece of a stream. Nothing is kept of a job that is gone.
local seq, attempt, stream, offset, data = take(), take(), take(), number(), take()
if call('EXISTS', P .. 'j:' .. seq) == 0 then
  return 0
end
call('SETRANGE', P .. 'o:' .. seq .. ':' .. attempt .. ':' .. stream, offset, data)
return 1
