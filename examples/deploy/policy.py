"""What this deployment asks of every job: a plugin of one file.

It refuses commands that are too long, tags every job with the site, tells jobs where they run, and takes exit code 75
("try again later") as what it says while any other failure of a bulk job is final.
"""

from __future__ import annotations

from queuectl.api import JobRejected, Option, OutcomeKind, hookimpl

TEMPFAIL = 75
_site = ""
_longest = 0


@hookimpl
def queuectl_options():
    yield Option("site", str, help="the name of this installation")
    yield Option("longest", int, 1000, "characters that a command may have", minimum=1)


@hookimpl
def queuectl_configure(options):
    global _site, _longest
    _site, _longest = options["site"], options["longest"]


@hookimpl
def queuectl_prepare(jobs):
    for i, job in enumerate(jobs):
        if len(job.command) > _longest:
            raise JobRejected(f"a command has at most {_longest} characters here, and this has {len(job.command)}")
        jobs[i] = job._replace(tags=(*job.tags, f"site:{_site}"))


@hookimpl
def queuectl_environment(claim):
    return {"SITE": _site, "SITE_QUEUE": claim.job.spec.queue}


@hookimpl
def queuectl_verdict(job, outcome):
    if job.spec.queue == "bulk" and outcome.kind is OutcomeKind.EXITED and outcome.code not in (0, TEMPFAIL):
        return "dead"
    return None
