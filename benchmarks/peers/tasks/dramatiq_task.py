import common
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=common.REDIS))


@dramatiq.actor
def job(line):
    common.run(line)


if __name__ == "__main__":
    common.main(job.send, lambda lines: [job.send(line) for line in lines])
