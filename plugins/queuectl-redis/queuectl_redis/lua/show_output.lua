-- Lay out a piece of what a running attempt writes, behind what was there before; the last of it is kept, for a while.
local seq, attempt, stream, offset, data = take(), take(), take(), number(), take()
local MOST, KEPT, A_MINUTE = 262144, 131072, 60
local job = call('HMGET', P .. 'j:' .. seq, 's', 'n')
if job[1] ~= '2' or job[2] ~= attempt then
  return 0
end
local key = P .. 'shown:' .. seq .. ':' .. stream
local before = call('HMGET', key, 'attempt', 'begin', 'data')
local begin, text = offset, data
if before[1] == attempt and tonumber(before[2]) + #before[3] == offset then
  begin, text = tonumber(before[2]), before[3] .. data
end
if #text > MOST then
  begin, text = begin + #text - KEPT, string.sub(text, -KEPT)
end
call('HSET', key, 'attempt', attempt, 'begin', begin, 'data', text)
call('EXPIRE', key, A_MINUTE)
return 1
