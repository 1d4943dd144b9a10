-- name: by_seq
-- What settling needs to know of a job.
SELECT seq, queue, state, token, attempts, run_at, cancel, pool FROM job WHERE seq = ? AND id IS NULL;

-- name: by_id
SELECT seq, queue, state, token, attempts, run_at, cancel, pool FROM job INDEXED BY job_id WHERE id = ?;

-- name: has_token
-- Whether an attempt of this job ended under this token: its settlement is a repeat.
SELECT 1 FROM attempt WHERE id BETWEEN ? AND ? AND token = ?;

-- name: was_released
SELECT 1 FROM released WHERE job = ? AND token = ?;

-- name: release
INSERT INTO released (job, token) VALUES (?, ?);

-- name: settle
UPDATE job SET state = ?, due = ?, run_at = ?, updated_at = ?, attempts = ?, tries = ?, losses = ?,
    reason = ?, pool = NULL, cancel = 0
WHERE seq = ?;

-- name: command
SELECT command FROM job WHERE seq = ?;

-- name: fault
UPDATE job SET fault = ? WHERE seq = ?;

-- name: attempt
INSERT INTO attempt (id, token, pool, state, run_at, kind, code, started_at, ended_at, detail, stdout_size, stderr_size,
    left, stdout, stderr)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: next_due
SELECT run_at FROM job INDEXED BY later WHERE due = 2 ORDER BY run_at LIMIT 1;

-- name: promote
-- What has become due enters the ready order; a bounded number, so that no turn takes long.
UPDATE job SET due = 1 WHERE seq IN
    (SELECT seq FROM job INDEXED BY later WHERE due = 2 AND run_at <= ? ORDER BY run_at LIMIT ?)
RETURNING queue;

-- name: queues
SELECT id, name, paused, cap, ready, processing FROM queue;

-- name: heads
-- The best job of each open queue, best first: a blocked queue costs nothing, however much is in it.
SELECT job.rank, job.run_at, job.seq, job.state, job.queue FROM json_each(?) AS open CROSS JOIN job ON job.seq =
    (SELECT seq FROM job INDEXED BY ready WHERE due = 1 AND queue = open.value ORDER BY rank, run_at, seq LIMIT 1)
ORDER BY 1, 2, 3 LIMIT ?;

-- name: line
-- One queue in its order.
SELECT rank, run_at, seq, state FROM job INDEXED BY ready WHERE due = 1 AND queue = ? ORDER BY rank, run_at, seq LIMIT ?;

-- name: claim
UPDATE job SET state = 2, due = 0, attempts = attempts + 1, token = token + 1, pool = ?, updated_at = ? WHERE seq = ?
RETURNING {job};

-- name: outcome
-- How the latest ended attempt of a job ended.
SELECT {attempt} FROM attempt WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1;

-- name: count
UPDATE queue SET ready = ready + ?, pending = pending + ?, failed = failed + ?, processing = processing + ?,
    completed = completed + ?, dead = dead + ?, cancelled = cancelled + ?, runs = runs + ?, run_ms = run_ms + ?
WHERE id = ?;

-- name: sample
INSERT INTO minute (minute, queue, measure, bucket, n) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = n + excluded.n;

-- name: sent
INSERT INTO target (name, waiting) VALUES (?, ?) ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting;

-- name: renew
INSERT INTO pool (id, lease_until) VALUES (?, ?) ON CONFLICT DO UPDATE SET lease_until = excluded.lease_until;

-- name: cancelling
SELECT seq, id FROM job INDEXED BY cancelling WHERE cancel = 1 AND pool = ?;
