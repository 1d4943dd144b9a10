-- name: take
UPDATE outbox SET held_until = ? WHERE id IN (SELECT id FROM outbox WHERE held_until <= ? ORDER BY id LIMIT ?)
RETURNING id, target, event;

-- name: delivered
DELETE FROM outbox WHERE id = ?;
