-- name: put
INSERT INTO outbox (target, at, due_at, event) VALUES (?, ?, ?, ?);

-- name: targets
SELECT name, waiting, delivered, dropped, error, error_at FROM target ORDER BY name;

-- name: due
-- What one target may be told now, due for longest first.
SELECT due_at, id FROM outbox INDEXED BY outbox_due WHERE target = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?;

-- name: take
UPDATE outbox SET due_at = ?, tries = tries + 1 WHERE id = ? RETURNING target, event, id, at, tries;

-- name: delivered
DELETE FROM outbox WHERE id = ? RETURNING target;

-- name: arrived
UPDATE target SET waiting = waiting - ?, delivered = delivered + ?, error = '', error_at = NULL WHERE name = ?;

-- name: postpone
UPDATE outbox SET due_at = ?, tries = max(0, tries - ?) WHERE id = ? RETURNING target;

-- name: failed
UPDATE target SET error = ?, error_at = ? WHERE name = ?;

-- name: old
-- Of those that were stored first, the ones that are old: no look goes further.
SELECT id FROM (SELECT id, at FROM outbox ORDER BY id LIMIT ?) WHERE at < ?;

-- name: dropped
UPDATE target SET waiting = waiting - ?, dropped = dropped + ? WHERE name = ?;

-- name: oldest
SELECT at FROM outbox INDEXED BY outbox_line WHERE target = ? ORDER BY id LIMIT 1;

-- name: first_due
SELECT due_at FROM outbox INDEXED BY outbox_due WHERE target = ? ORDER BY due_at LIMIT 1;
