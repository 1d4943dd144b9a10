-- name: cancel_waiting
UPDATE job SET state = 5, due = 0, updated_at = ?, reason = ? WHERE seq = ?;

-- name: cancel_running
UPDATE job SET cancel = 1 WHERE seq = ?;

-- name: retry
-- OR IGNORE: an unfinished job may have the unique key by now.
UPDATE OR IGNORE job SET state = 0, due = 1, run_at = ?, updated_at = ?, tries = 0, losses = 0, reason = ''
WHERE seq = ?;

-- name: audit
INSERT INTO audit (at, job, queue, action, actor, note) VALUES (?, ?, ?, ?, ?, ?);

-- name: state
SELECT seq, id, queue, state, due, cancel, attempts FROM job WHERE seq = ?;

-- name: keep_token
-- The id of this job may be given again; tokens of it that are still about must not fit then.
UPDATE meta SET tokens = gone.token FROM (SELECT token FROM job WHERE seq = ? AND id IS NOT NULL) AS gone
WHERE gone.token > meta.tokens;

-- name: delete_job
DELETE FROM job WHERE seq = ?;

-- name: delete_attempts
DELETE FROM attempt WHERE id BETWEEN ? AND ?;

-- name: delete_released
DELETE FROM released WHERE job = ?;

-- name: delete_audits
DELETE FROM audit WHERE job = ?;

-- name: delete_tags
DELETE FROM tag WHERE job = ? AND tag IN (SELECT value FROM json_each(?));

-- name: tags
SELECT extra FROM job WHERE seq = ?;

-- name: oldest
SELECT seq, updated_at FROM job INDEXED BY ended WHERE state = ? AND state > 2 AND updated_at < ?
ORDER BY updated_at, seq LIMIT ?;

-- name: sum_samples
-- Minute 0 has the sum of all that are not kept one by one: what is counted never falls.
INSERT INTO minute (minute, queue, measure, bucket, n)
SELECT 0, queue, measure, bucket, sum(n) FROM minute WHERE minute BETWEEN 1 AND ? GROUP BY queue, measure, bucket
ON CONFLICT DO UPDATE SET n = n + excluded.n;

-- name: delete_samples
DELETE FROM minute WHERE minute BETWEEN 1 AND ?;

-- name: queue
SELECT id FROM queue WHERE name = ?;

-- name: pause
UPDATE queue SET paused = ?, pause_reason = ? WHERE id = ?;

-- name: cap
UPDATE queue SET cap = ? WHERE id = ?;
