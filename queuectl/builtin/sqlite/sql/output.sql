-- name: stdout_size
SELECT length(stdout) FROM attempt WHERE id = ?;

-- name: stderr_size
SELECT length(stderr) FROM attempt WHERE id = ?;

-- name: stdout
SELECT substr(stdout, ?, ?) FROM attempt WHERE id = ?;

-- name: stderr
SELECT substr(stderr, ?, ?) FROM attempt WHERE id = ?;
