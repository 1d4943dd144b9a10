-- name: job
SELECT {job} FROM job WHERE seq = ?;

-- name: attempts
SELECT {attempt} FROM attempt WHERE id BETWEEN ? AND ? ORDER BY id;

-- name: outcome
SELECT {attempt} FROM attempt WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1;

-- name: audits
SELECT at, action, actor, note FROM audit INDEXED BY audit_job WHERE job = ? ORDER BY id;

-- name: prefix
-- Given ids that begin so: from the prefix up to the first text that does not.
SELECT id FROM job INDEXED BY job_id WHERE id IS NOT NULL AND id >= ? AND id < ? ORDER BY id LIMIT 2;

-- name: queues
SELECT id, name, paused, cap, ready, pending, failed, processing, completed, dead, cancelled, runs, run_ms, pause_reason
FROM queue ORDER BY name;

-- name: head
SELECT run_at FROM job INDEXED BY ready WHERE due = 1 AND queue = ? ORDER BY rank, run_at, seq LIMIT 1;

-- name: due_since
-- What became due since a pool last looked; a bounded number.
SELECT queue, count(*), min(run_at) FROM
    (SELECT queue, run_at FROM job INDEXED BY later WHERE due = 2 AND run_at <= ? ORDER BY run_at LIMIT 1000)
GROUP BY queue;

-- name: samples
SELECT minute, name, measure, bucket, n FROM minute JOIN queue ON queue.id = minute.queue
WHERE minute BETWEEN ? AND ? ORDER BY minute, name, measure, bucket;

-- name: summed
SELECT name, measure, bucket, sum(n) FROM minute JOIN queue ON queue.id = minute.queue
WHERE minute BETWEEN ? AND ? GROUP BY name, measure, bucket;

-- name: next_minute
SELECT minute FROM minute WHERE minute > ? AND minute <= ? ORDER BY minute LIMIT 1;

-- name: newest
-- The lines that find() walks: a key to go on from, and what its filters look at.
SELECT seq, {look} FROM job WHERE seq < :a ORDER BY seq DESC;

-- name: newest_in
SELECT seq, {look} FROM job INDEXED BY lined WHERE queue = :queue AND seq < :a ORDER BY seq DESC;

-- name: ready_in
-- A key may be shared by many rows, all of one enqueue: the rest of those, then what is beyond. Each part is a search;
-- a comparison of row values walks the rows that share the key.
SELECT rank, run_at, seq, {look} FROM job INDEXED BY ready
WHERE due = 1 AND queue = :queue AND rank = :a AND run_at = :b AND seq > :c
UNION ALL
SELECT rank, run_at, seq, {look} FROM job INDEXED BY ready
WHERE due = 1 AND queue = :queue AND rank = :a AND run_at > :b
UNION ALL
SELECT rank, run_at, seq, {look} FROM job INDEXED BY ready
WHERE due = 1 AND queue = :queue AND rank > :a
ORDER BY 1, 2, 3;

-- name: later
SELECT run_at, seq, {look} FROM job INDEXED BY later WHERE due = 2 AND run_at = :a AND seq > :b
UNION ALL
SELECT run_at, seq, {look} FROM job INDEXED BY later WHERE due = 2 AND run_at > :a
ORDER BY 1, 2;

-- name: later_in
SELECT run_at, seq, {look} FROM job INDEXED BY later_in
WHERE due = 2 AND queue = :queue AND run_at = :a AND seq > :b
UNION ALL
SELECT run_at, seq, {look} FROM job INDEXED BY later_in
WHERE due = 2 AND queue = :queue AND run_at > :a
ORDER BY 1, 2;

-- name: retrying
SELECT run_at, seq, {look} FROM job INDEXED BY retrying WHERE state = 1 AND run_at = :a AND seq > :b
UNION ALL
SELECT run_at, seq, {look} FROM job INDEXED BY retrying WHERE state = 1 AND run_at > :a
ORDER BY 1, 2;

-- name: held
-- Few, as many as workers: sorted, not kept in order.
SELECT updated_at, seq, {look} FROM job INDEXED BY held
WHERE state = 2 AND (updated_at, seq) < (:a, :b) ORDER BY updated_at DESC, seq DESC;

-- name: ended
SELECT updated_at, seq, {look} FROM job INDEXED BY ended
WHERE state = :state AND state > 2 AND updated_at = :a AND seq < :b
UNION ALL
SELECT updated_at, seq, {look} FROM job INDEXED BY ended
WHERE state = :state AND state > 2 AND updated_at < :a
ORDER BY 1 DESC, 2 DESC;

-- name: ended_in
SELECT updated_at, seq, {look} FROM job INDEXED BY ended_in
WHERE queue = :queue AND state = :state AND state > 2 AND updated_at = :a AND seq < :b
UNION ALL
SELECT updated_at, seq, {look} FROM job INDEXED BY ended_in
WHERE queue = :queue AND state = :state AND state > 2 AND updated_at < :a
ORDER BY 1 DESC, 2 DESC;

-- name: tagged
SELECT job FROM tag WHERE tag = :tag AND job < :a ORDER BY job DESC;

-- name: look
SELECT {look} FROM job WHERE seq = :a;

-- name: faulted
SELECT updated_at, seq, {look} FROM job INDEXED BY faults
WHERE state = 4 AND fault = :fault AND updated_at = :a AND seq < :b
UNION ALL
SELECT updated_at, seq, {look} FROM job INDEXED BY faults
WHERE state = 4 AND fault = :fault AND updated_at < :a
ORDER BY 1 DESC, 2 DESC;

-- name: faults
-- One walk over the index of the dead, which has all that is asked for.
SELECT fault, count(*), min(updated_at), max(updated_at) FROM job INDEXED BY faults
WHERE state = 4 AND fault IS NOT NULL GROUP BY fault ORDER BY 2 DESC, 4 DESC, 1 LIMIT ?;

-- name: latest_of_fault
SELECT seq FROM job INDEXED BY faults WHERE state = 4 AND fault = ? ORDER BY updated_at DESC, seq DESC LIMIT 1;

-- name: has_fault
SELECT 1 FROM job WHERE seq = ? AND state = 4 AND fault = ?;
