-- The first version. Later versions are further files here; each runs once, in order, under the write lock.

-- One row. next_seq: no number is given twice, though rows are deleted. texts: rises when unused texts are removed.
CREATE TABLE meta (
    identity   TEXT    NOT NULL,
    next_seq   INTEGER NOT NULL,
    texts      INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

-- Settings, environments and folders: long, and shared by many jobs. AUTOINCREMENT, because processes remember ids.
CREATE TABLE text (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    body ANY NOT NULL UNIQUE
) STRICT;

-- How a queue is set, and what is in it: the counts are kept, in the transaction that changes them.
CREATE TABLE queue (
    id           INTEGER PRIMARY KEY,
    paused       INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    cap          INTEGER CHECK (cap >= 0),             -- most running at once; NULL: no limit
    ready        INTEGER NOT NULL DEFAULT 0,           -- due now
    pending      INTEGER NOT NULL DEFAULT 0,
    failed       INTEGER NOT NULL DEFAULT 0,
    processing   INTEGER NOT NULL DEFAULT 0,
    completed    INTEGER NOT NULL DEFAULT 0,
    dead         INTEGER NOT NULL DEFAULT 0,
    cancelled    INTEGER NOT NULL DEFAULT 0,
    runs         INTEGER NOT NULL DEFAULT 0,           -- attempts that ended, ever
    run_ms       INTEGER NOT NULL DEFAULT 0,
    name         TEXT NOT NULL UNIQUE,
    pause_reason TEXT NOT NULL DEFAULT ''
) STRICT;

-- state: 0 pending, 1 failed, 2 processing, 3 completed, 4 dead, 5 cancelled.
-- due: 0 does not wait, 1 ready, 2 later. rank: the priority negated, so that one ascending key is the run order.
CREATE TABLE job (
    seq         INTEGER PRIMARY KEY,                   -- order of insertion; the issued id
    queue       INTEGER NOT NULL,
    state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
    due         INTEGER NOT NULL CHECK (due BETWEEN 0 AND 2),
    rank        INTEGER NOT NULL CHECK (rank BETWEEN -1000 AND 1000),
    run_at      INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    tries       INTEGER NOT NULL DEFAULT 0,
    losses      INTEGER NOT NULL DEFAULT 0,
    token       INTEGER NOT NULL DEFAULT 0,
    cancel      INTEGER NOT NULL DEFAULT 0,
    asked_at    INTEGER,                               -- run_at as asked for; NULL: at once
    settings    INTEGER NOT NULL,                      -- these three: text.id
    environment INTEGER NOT NULL,
    cwd         INTEGER,
    pool        TEXT,
    id          TEXT,                                  -- only when the user gave one
    ukey        TEXT,
    reason      TEXT NOT NULL DEFAULT '',
    command     ANY NOT NULL,                          -- a BLOB where it is not valid UTF-8
    argv        TEXT,                                  -- JSON
    extra       TEXT,                                  -- JSON: env and tags, where there are any
    CHECK ((state = 2) = (pool IS NOT NULL)),
    CHECK ((state < 2) = (due > 0)),
    CHECK (cancel = 0 OR state = 2)
) STRICT;

CREATE UNIQUE INDEX job_id   ON job (id)   WHERE id IS NOT NULL;
CREATE UNIQUE INDEX job_ukey ON job (ukey) WHERE ukey IS NOT NULL AND state < 3;
CREATE INDEX ready      ON job (queue, rank, run_at) WHERE due = 1;     -- run order, queue by queue
CREATE INDEX later      ON job (run_at)              WHERE due = 2;     -- what becomes due next
CREATE INDEX later_in   ON job (queue, run_at)       WHERE due = 2;
CREATE INDEX retrying   ON job (run_at)              WHERE state = 1;
CREATE INDEX held       ON job (pool)                WHERE state = 2;
CREATE INDEX cancelling ON job (pool)                WHERE cancel = 1;
CREATE INDEX ended      ON job (state, updated_at)   WHERE state > 2;
CREATE INDEX ended_in   ON job (queue, state, updated_at) WHERE state > 2;
CREATE INDEX lined      ON job (queue);                                 -- newest of a queue, whatever its state

CREATE TABLE tag (
    tag TEXT    NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (tag, job)
) STRICT, WITHOUT ROWID;

-- Ended attempts. id is job.seq * 2^20 + number: one tree instead of two, and a job's attempts lie together.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    token       INTEGER NOT NULL,
    state       INTEGER NOT NULL,                      -- what the job became by it
    run_at      INTEGER,                               -- when the next one was due
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    code        INTEGER,
    stdout_size INTEGER NOT NULL,
    stderr_size INTEGER NOT NULL,
    left        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    pool        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    stdout      BLOB,                                  -- short ones; NULL: none, or a file in out/
    stderr      BLOB
) STRICT;

-- Tokens that were given back unused: no attempt names them, and a repeated release is to be recognised.
CREATE TABLE released (
    job   INTEGER NOT NULL,
    token INTEGER NOT NULL,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    job    INTEGER,                                    -- one of job and queue
    queue  INTEGER,
    action TEXT NOT NULL,
    actor  TEXT NOT NULL,
    note   TEXT NOT NULL
) STRICT;
CREATE INDEX audit_job ON audit (job) WHERE job IS NOT NULL;

CREATE TABLE minute (
    minute  INTEGER NOT NULL,
    queue   INTEGER NOT NULL,
    measure TEXT    NOT NULL,
    bucket  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (minute, queue, measure, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE pool (
    id          TEXT PRIMARY KEY,
    lease_until INTEGER NOT NULL,
    host        TEXT    NOT NULL DEFAULT '',
    pid         INTEGER NOT NULL DEFAULT 0,
    started_at  INTEGER NOT NULL DEFAULT 0,
    queues      TEXT    NOT NULL DEFAULT '[]',
    workers     INTEGER NOT NULL DEFAULT 0,
    version     TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    held_until INTEGER NOT NULL DEFAULT 0,
    target     TEXT    NOT NULL,
    event      TEXT    NOT NULL
) STRICT;
