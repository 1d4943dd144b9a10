-- Up to two given ids that begin so.
local prefix = take()
return call('ZRANGEBYLEX', P .. 'names', '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, 2)
