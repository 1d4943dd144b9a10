"""The pages, one file each, in the order of the menu."""

from queuectl.web.pages import dead, job, jobs, overview, queues, stats, system, workers

PAGES = (
    overview.blueprint,
    jobs.blueprint,
    job.blueprint,
    queues.blueprint,
    workers.blueprint,
    dead.blueprint,
    stats.blueprint,
    system.blueprint,
)
