import common
from huey import SqliteHuey

huey = SqliteHuey(filename=f"{common.FOLDER}/huey.db")


@huey.task()
def job(line):
    return common.run(line)


if __name__ == "__main__":
    from huey_task import job  # under the name that the consumer knows it by

    common.main(job, lambda lines: [job(line) for line in lines])
