"""litequeue ships no worker: the loop at the end stands in for one."""

import sys
import time

import common
from litequeue import LiteQueue

queue = LiteQueue(f"{common.FOLDER}/lite.db")


def put_many(lines):
    with queue.transaction(mode="IMMEDIATE"):
        for line in lines:
            print(queue.put(line).message_id)


def work():
    while True:
        message = queue.pop()
        if message is None:
            time.sleep(0.01)
            continue
        try:
            common.run(message.data)
        except RuntimeError:
            queue.mark_failed(message.message_id)
        else:
            queue.done(message.message_id)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work()
    common.main(queue.put, put_many)
