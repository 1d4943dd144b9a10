-- The outbox as couriers need it: what is due for one target, how old it is and how often it was tried.
CREATE TABLE parcel (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,                           -- when it was stored
    due_at INTEGER NOT NULL,                           -- from then on it may be taken
    tries  INTEGER NOT NULL DEFAULT 0,
    target TEXT    NOT NULL,
    event  TEXT    NOT NULL
) STRICT;
INSERT INTO parcel (id, at, due_at, target, event)
    SELECT id, coalesce(json_extract(event, '$.at'), 0), held_until, target, event FROM outbox;
DROP TABLE outbox;
ALTER TABLE parcel RENAME TO outbox;
CREATE INDEX outbox_due ON outbox (target, due_at);
CREATE INDEX outbox_line ON outbox (target);

-- The counts are kept, in the transaction that changes them. error: why the last delivery failed, until one arrives.
CREATE TABLE target (
    name      TEXT    PRIMARY KEY,
    waiting   INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dropped   INTEGER NOT NULL DEFAULT 0,
    error_at  INTEGER,
    error     TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
INSERT INTO target (name, waiting) SELECT target, count(*) FROM outbox GROUP BY target;
