"""From a job to a mail, by the program as it is installed."""

from __future__ import annotations

from apprise_mail import MailServer

from queuectl.testing.plugin import Project

CONFIG = """
[routes.bad-news]
to = ["ops"]
events = ["dead"]

[notifier.ops]
use = "apprise"
url = {{ file = "ops.secret" }}
{more}
"""


def test_a_job_that_dies_is_a_mail_at_least_once_and_until_then_it_waits(
    queuectl_project: Project, mail_server: MailServer
) -> None:
    """A mail server that says no first, and a pool that ends meanwhile."""
    project = queuectl_project
    project.write("ops.secret", mail_server.url + "&password=s3cret")
    project.config(CONFIG.format(more='title = "{id} {kind}"'))
    mail_server.answer = "451 later"
    id = project.run("enqueue", "--max-retries", "0", "--shell", "exit 3").out.strip()
    project.run("enqueue", "--", "true")
    project.run("worker", "start", "--until-empty", code=1)
    (row,) = project.json("status")["outbox"]
    assert (row["notifier"], row["waiting"]) == ("ops", 1) and row["error"].startswith("E-Mail did not take it")
    assert "s3cret" not in project.run("status").out + project.run("config", "list").out
    mail_server.answer = "250 OK"
    worker = project.start_worker()
    assert mail_server.told.wait(60), "it is never told"
    worker.stop()  # which lets it be written down
    assert [mail["subject"] for mail in mail_server.mails] == [f"{id} dead"]
    assert project.json("metrics")["outbox"] == {"waiting": 0, "delivered": 1, "dropped": 0}


def test_it_is_told_from_the_outbox_only(queuectl_project: Project) -> None:
    queuectl_project.config('[queuectl]\nnotifiers = ["apprise"]\n[notifier.apprise]\nurl = "json://127.0.0.1"\n')
    assert "name it in a route" in queuectl_project.run("config", "validate", code=78).err
