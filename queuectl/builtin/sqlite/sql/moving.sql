-- name: newest
SELECT max(seq) FROM job;

-- name: jobs
-- A batch, oldest first; then what belongs to it, each in one walk.
SELECT {job} FROM job WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?;

-- name: attempts
SELECT {attempt} FROM attempt WHERE id BETWEEN ? AND ? ORDER BY id;

-- name: audits
SELECT job, at, action, actor, note FROM audit INDEXED BY audit_job
WHERE job IS NOT NULL AND job BETWEEN ? AND ? ORDER BY job, id;

-- name: has_number
SELECT 1 FROM job WHERE seq = ?;

-- name: insert
INSERT INTO job (seq, queue, state, due, rank, run_at, created_at, updated_at, attempts, tries, losses, token, asked_at,
    settings, environment, cwd, id, ukey, reason, command, argv, extra)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: audit
INSERT INTO audit (at, job, action, actor, note) VALUES (?, ?, ?, ?, ?);

-- name: has_attempt
SELECT 1 FROM attempt WHERE id = ?;
