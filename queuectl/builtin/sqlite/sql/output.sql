-- name: stdout_size
SELECT length(stdout) FROM attempt WHERE id = ?;

-- name: stderr_size
SELECT length(stderr) FROM attempt WHERE id = ?;

-- name: stdout
-- The part of an empty BLOB is NULL to SQLite, and NULL means a file.
SELECT CASE length(stdout) WHEN 0 THEN stdout ELSE substr(stdout, ?, ?) END FROM attempt WHERE id = ?;

-- name: stderr
SELECT CASE length(stderr) WHEN 0 THEN stderr ELSE substr(stderr, ?, ?) END FROM attempt WHERE id = ?;
