import common
from redis import Redis
from rq import Queue

queue = Queue(connection=Redis.from_url(common.REDIS))


def put_many(lines):
    for at in range(0, len(lines), 1000):
        queue.enqueue_many([Queue.prepare_data(common.run, (line,)) for line in lines[at : at + 1000]])


if __name__ == "__main__":
    common.main(lambda line: queue.enqueue(common.run, line), put_many)
