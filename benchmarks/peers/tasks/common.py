"""What all Python peers share: the body of their task, and how they are told to put work in."""

import os
import subprocess
import sys
import time

FOLDER = os.environ.get("BENCH_FOLDER", ".")
REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0")
POSTGRES = os.environ.get("BENCH_POSTGRES", "")


def run(line):
    """A shell line to its end, with its output: what somebody would write who wants shell commands run."""
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}")
    return done.stdout


def main(put, put_many):
    """``put FILE``: every line of it. ``latency N PIPE``: N single puts, each answered by its job through the pipe."""
    verb, *words = sys.argv[1:]
    if verb == "put":
        with open(words[0]) as file:
            put_many(file.read().splitlines())
    elif verb == "latency":
        count, pipe = int(words[0]), words[1]
        reader = os.open(pipe, os.O_RDWR)
        for _ in range(count):
            put(f"echo . > {pipe}")
            returned = time.perf_counter()
            os.read(reader, 16)
            print(1000 * (time.perf_counter() - returned), flush=True)
            time.sleep(0.05)
