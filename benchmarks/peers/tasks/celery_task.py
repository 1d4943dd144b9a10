import common
from celery import Celery

app = Celery("celery_task", broker=common.REDIS, backend=common.REDIS)
app.conf.worker_prefetch_multiplier = 4
app.conf.broker_connection_retry_on_startup = True


@app.task(name="job")
def job(line):
    return common.run(line)


if __name__ == "__main__":
    common.main(job.delay, lambda lines: [job.delay(line) for line in lines])
