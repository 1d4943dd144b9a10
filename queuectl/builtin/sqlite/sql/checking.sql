-- name: integrity
PRAGMA integrity_check(5);

-- name: kept
SELECT id, name, ready, pending, failed, processing, completed, dead, cancelled FROM queue ORDER BY name;

-- name: counted
-- The same by counting.
SELECT queue, sum(due = 1), sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3), sum(state = 4), sum(state = 5)
FROM job GROUP BY queue;

-- name: repair
UPDATE queue SET ready = ?, pending = ?, failed = ?, processing = ?, completed = ?, dead = ?, cancelled = ? WHERE id = ?;

-- name: lost_attempts
SELECT count(*) FROM attempt WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.seq = attempt.id >> 20);

-- name: unused_text
SELECT id FROM text WHERE id NOT IN
    (SELECT settings FROM job UNION SELECT environment FROM job UNION SELECT cwd FROM job WHERE cwd IS NOT NULL)
LIMIT 1;

-- name: drop_texts
DELETE FROM text WHERE id NOT IN
    (SELECT settings FROM job UNION SELECT environment FROM job UNION SELECT cwd FROM job WHERE cwd IS NOT NULL);

-- name: age_texts
-- Processes that remember the numbers of texts forget them when this rises.
UPDATE meta SET texts = texts + 1;

-- name: has_job
SELECT 1 FROM job WHERE seq = ?;

-- name: wrong_targets
SELECT name FROM target WHERE waiting <> (SELECT count(*) FROM outbox WHERE outbox.target = target.name) ORDER BY name;

-- name: repair_targets
UPDATE target SET waiting = (SELECT count(*) FROM outbox WHERE outbox.target = target.name);
