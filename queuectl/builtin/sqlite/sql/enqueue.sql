-- name: counters
-- The next number, the age of the texts that processes remember, the highest token of deleted jobs of given ids.
SELECT next_seq, texts, tokens FROM meta;

-- name: advance
UPDATE meta SET next_seq = ?;

-- name: insert
INSERT INTO job (seq, queue, state, due, rank, run_at, created_at, updated_at, asked_at, settings, environment, cwd, id,
    token, ukey, command, argv, extra)
VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: has_id
SELECT 1 FROM job INDEXED BY job_id WHERE id = ?;

-- name: has_key
-- The unfinished job that has a unique key.
SELECT seq, id FROM job INDEXED BY job_ukey WHERE ukey = ? AND ukey IS NOT NULL AND state < 3;

-- name: tag
INSERT OR IGNORE INTO tag (tag, job) VALUES (?, ?);
