import common
import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=common.POSTGRES))
_sync = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=common.POSTGRES))


@app.task(name="job")
def job(line):
    return common.run(line)


@_sync.task(name="job")
def _job(line):
    return common.run(line)


def put_many(lines):
    for at in range(0, len(lines), 1000):
        _job.batch_defer(*[{"line": line} for line in lines[at : at + 1000]])


if __name__ == "__main__":
    with _sync.open():
        common.main(lambda line: _job.defer(line=line), put_many)
