import asyncio

import common
from saq import Queue

queue = Queue.from_url(common.REDIS)


async def run(_context, *, line):
    """Two at a time in one process, as saq is meant to be used."""
    process = await asyncio.create_subprocess_shell(
        line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}")
    return out.decode()


settings = {"queue": queue, "functions": [run], "concurrency": 2, "dequeue_timeout": 0}


def put_many(lines):
    async def put():
        await queue.connect()
        for at in range(0, len(lines), 100):
            await asyncio.gather(*[queue.enqueue("run", line=line) for line in lines[at : at + 100]])
        await queue.disconnect()

    asyncio.run(put())


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    common.main(lambda line: loop.run_until_complete(queue.enqueue("run", line=line)), put_many)
