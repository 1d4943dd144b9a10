-- name: join
INSERT INTO pool (id, lease_until, host, pid, started_at, queues, workers, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET lease_until = excluded.lease_until, host = excluded.host, pid = excluded.pid,
    started_at = excluded.started_at, queues = excluded.queues, workers = excluded.workers, version = excluded.version;

-- name: renew
INSERT INTO pool (id, lease_until) VALUES (?, ?) ON CONFLICT DO UPDATE SET lease_until = excluded.lease_until;

-- name: end_lease
UPDATE pool SET lease_until = 0 WHERE id = ?;

-- name: forget
DELETE FROM pool WHERE id = ?;

-- name: list
SELECT id, host, pid, started_at, queues, workers, lease_until, version FROM pool ORDER BY started_at, id;

-- name: held
SELECT seq, id, token, cancel FROM job INDEXED BY held WHERE state = 2 AND pool = ?;

-- name: next_holder
-- The holders of claims, one by one, whatever they hold.
SELECT pool FROM job INDEXED BY held WHERE state = 2 AND pool > ? ORDER BY pool LIMIT 1;

-- name: adopt
UPDATE job SET pool = ?, token = token + 1 WHERE seq IN
    (SELECT seq FROM job INDEXED BY held WHERE state = 2 AND pool = ? ORDER BY seq LIMIT ?)
RETURNING seq;
