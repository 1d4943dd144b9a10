-- Compare the figures of all queues with the lines themselves, of one moment. Sentences about what is wrong.
local wrong, sums = {}, { [0] = 0, 0, 0, 0, 0, 0 }
local function expect(what, kept, found)
  if tonumber(kept) ~= tonumber(found) then
    wrong[#wrong + 1] = what .. ': kept ' .. tostring(kept) .. ', found ' .. tostring(found)
  end
end
for _, name in ipairs(call('SMEMBERS', P .. 'queues')) do
  local kept = call('HMGET', P .. 'q:' .. name, '0', '1', '2', '3', '4', '5', 'paused', 'cap')
  for state = 0, 5 do
    kept[state + 1] = tonumber(kept[state + 1] or 0)
    sums[state] = sums[state] + kept[state + 1]
    if state > 2 then
      expect(name .. ' ended in state ' .. state, kept[state + 1], call('ZCARD', P .. 'f:' .. state .. ':' .. name))
    end
  end
  local ready = call('ZCARD', P .. 'r:' .. name)
  expect(name .. ' waiting', kept[1] + kept[2], ready + call('ZCARD', P .. 'l:' .. name))
  local open = ready > 0 and kept[7] ~= '1' and (not kept[8] or kept[3] < tonumber(kept[8]))
  local head = open and call('ZRANGE', P .. 'r:' .. name, 0, 0, 'WITHSCORES')[2] or 'none'
  if (call('ZSCORE', P .. 'heads', name) or 'none') ~= head then
    wrong[#wrong + 1] = name .. ': its head is wrong'
  end
  local due = call('ZRANGE', P .. 'l:' .. name, 0, 0, 'WITHSCORES')[2] or 'none'
  if (call('ZSCORE', P .. 'dues', name) or 'none') ~= due then
    wrong[#wrong + 1] = name .. ': when its next job is due is wrong'
  end
end
expect('failed', sums[1], call('ZCARD', P .. 's:1'))
expect('processing', sums[2], call('ZCARD', P .. 's:2'))
for state = 3, 5 do
  expect('ended in state ' .. state, sums[state], call('ZCARD', P .. 'f:' .. state))
end
expect('all', sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5], call('ZCARD', P .. 'all'))
return wrong
