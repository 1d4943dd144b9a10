-- The highest number that a job has; '' if there is none.
return call('ZREVRANGE', P .. 'all', 0, 0)[1] or ''
