#!/bin/sh
# The command lines of the first public QueueCTL, and the five scenarios it was judged by.
#
#     sh tests/smoke.sh [QUEUECTL…]
#
# Nothing is configured and the home is empty: this is what somebody sees who has just installed it. Every line that
# begins with "ok" is a promise kept; the first that is not kept ends the script with 1.
set -eu

[ $# -gt 0 ] || set -- queuectl
home=$(mktemp -d)
pool=
trap 'code=$?; [ -z "$pool" ] || kill "$pool" 2>/dev/null || :; rm -rf "$home"; exit $code' EXIT
trap 'exit 130' INT TERM
for name in $(env | sed -n 's/^\(QUEUECTL_[A-Z_]*\|XDG_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
HOME=$home
export HOME
cd "$home"

queuectl="$*"
q() { $queuectl "$@"; }
ok() { printf 'ok  %s\n' "$1"; }
off() { printf 'not ok  %s\n' "$1" >&2; [ ! -f worker.log ] || cat worker.log >&2; exit 1; }
same() { [ "$1" = "$2" ] || off "$3: '$1', and not '$2'"; }
# field FIELD: the values of one field of all objects in the JSON on stdin, one a line
field() { python3 -c 'import json, sys; d = json.load(sys.stdin); [print(j[sys.argv[1]]) for j in (d if isinstance(d, list) else [d])]' "$1"; }
state() { q show "$1" --json | field state; }
start() { $queuectl worker start --count 2 >>worker.log 2>&1 & pool=$!; }
stop() { q worker stop >/dev/null; wait "$pool" || off "the workers ended with $?"; pool=; }

# -- configuration first: it concerns later jobs ---------------------------------------------------
q config set max-retries 1
same "$(q config get max-retries)" 1 "config get max-retries"
q config set backoff-base 1
ok "config set max-retries, backoff-base; config get"

# -- 1. a basic job completes ----------------------------------------------------------------------
q enqueue '{"id":"job1","command":"echo hello from job1"}' >/dev/null
same "$(q list --state pending --json | field id)" job1 "list --state pending"
start
q wait job1 --timeout 20 >/dev/null
same "$(state job1)" completed "state of job1"
same "$(q logs job1)" "hello from job1" "logs job1"
ok "1  a basic job completes, and its output is kept"

# -- 2. a failing job backs off, then goes to the DLQ ----------------------------------------------
q enqueue '{"id":"job2","command":"exit 3"}' >/dev/null
q wait job2 --timeout 30 >/dev/null && off "wait for a job that died said 0"
same "$(state job2)" dead "state of job2"
same "$(q show job2 --json | field attempts)" 2 "attempts of job2 with max-retries 1"
same "$(q dlq list --json | field id)" job2 "dlq list"
q dlq list | grep job2 >/dev/null || off "dlq list does not show job2"
ok "2  a failing job is retried after a while, then goes to the DLQ"

# -- 3. several workers, and no job runs twice -----------------------------------------------------
i=0
while [ $i -lt 40 ]; do
    i=$((i + 1))
    printf '{"id":"many%s","command":"echo many%s >>ran"}\n' $i $i
done | q enqueue - >/dev/null
i=0
while [ $i -lt 40 ]; do
    i=$((i + 1))
    set -- "$@" "many$i"
done
shift $(($# - 40))
q wait "$@" --timeout 60 >/dev/null
same "$(wc -l <ran | tr -d ' ')" 40 "lines written by 40 jobs"
same "$(sort -u ran | wc -l | tr -d ' ')" 40 "different lines written by 40 jobs"
ok "3  two workers did forty jobs, each once"

# -- 4. a command that does not exist fails gracefully ---------------------------------------------
q enqueue '{"id":"job4","command":"no-such-command-at-all","max_retries":0}' >/dev/null
q wait job4 --timeout 20 >/dev/null && off "wait for a command that does not exist said 0"
same "$(state job4)" dead "state of job4"
same "$(q show job4 --json | field exit_code)" 127 "exit code of job4"
ok "4  a command that does not exist ends in the DLQ with 127"

# -- 5. data survives a restart --------------------------------------------------------------------
stop
q enqueue '{"id":"job5","command":"echo after the restart","priority":3,"timeout_sec":5}' >/dev/null
same "$(state job5)" pending "state of job5 while nobody works"
same "$(state job1)" completed "state of job1 after the restart"
start
q wait job5 --timeout 20 >/dev/null
same "$(q logs job5)" "after the restart" "logs job5"
ok "5  jobs outlive the workers"

# -- and the rest of the commands ------------------------------------------------------------------
q dlq retry job2 >/dev/null
q wait job2 --timeout 30 >/dev/null && off "job2 died again, and wait said 0"
same "$(q show job2 --json | field attempts)" 4 "attempts of job2 after dlq retry"
ok "dlq retry gives a job its retries back and keeps its history"

q status | grep completed >/dev/null || off "status does not say what completed"
q status --json | python3 -c 'import json, sys; c = json.load(sys.stdin)["counts"]; assert c["completed"] == 42 and c["dead"] == 2, c'
q metrics >/dev/null
q metrics --json | python3 -c 'import json, sys; json.load(sys.stdin)'
ok "status and metrics, for people and for programs"
stop
same "$(q worker list --json)" "[]" "worker list after worker stop"
ok "worker stop, from another process"
