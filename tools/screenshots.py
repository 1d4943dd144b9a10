"""Write ``docs/images/``: every page of the dashboard, light, dark and on a phone, over a small queue that really runs.

.venv/bin/python tools/screenshots.py           all of them
.venv/bin/python tools/screenshots.py jobs dlq  some
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGES = {
    "overview": "/?range=1h",
    "jobs": "/jobs",
    "job": "/jobs/nightly-report",
    "queues": "/queues",
    "workers": "/workers",
    "dlq": "/dlq",
    "metrics": "/stats?range=1h",
    "system": "/system",
    "new": "/new",
    "ask": "",  # by a click
}
KINDS = {"light": (1280, 800, "light"), "dark": (1280, 800, "dark"), "phone": (390, 780, "light")}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
JOBS = [
    *({"command": f"sleep 0.0{n % 8}; echo thumbnail {n}", "queue": "images", "tags": ["thumbs"]} for n in range(120)),
    *(
        {"command": f"echo sent letter {n}; test $(({n} % 9)) -gt 0", "queue": "mail", "max_retries": 0}
        for n in range(40)
    ),
    *({"command": f"curl -fsS http://localhost:1/feed/{n}", "queue": "feeds", "max_retries": 0} for n in range(12)),
    {"command": "exit 75", "queue": "feeds", "max_retries": 6},
    {"command": "sleep 9", "queue": "images", "timeout": 0.3, "max_retries": 0},
    {
        "command": "for n in $(seq 1 900); do echo page $n of 900; sleep 0.2; done",
        "id": "nightly-report",
        "priority": 9,
    },
]
LATER = [
    {"command": "rsync -a photos/ backup/", "queue": "backup", "tags": ["nightly"]},
    {"command": "make report", "run_at": "tomorrow 8:00"},
    {"command": "pg_dump shop | gzip > shop.sql.gz", "queue": "backup"},
]


def main() -> int:
    chosen = sys.argv[1:] or list(PAGES)
    folder = place()
    try:
        scene = Scene(folder)
        try:
            scene.prepare()
            shoot(scene.url, chosen)
        finally:
            scene.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def place() -> Path:
    """A folder whose name may be seen in a picture, where it can be had."""
    folder = Path("/srv/shop")
    try:
        folder.mkdir()
    except OSError:
        return Path(tempfile.mkdtemp())
    return folder


class Scene:
    """A queue with workers and a dashboard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT), "TZ": "UTC", "USER": "ada"}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.url = ""
        (folder / "work").mkdir()
        (folder / "work" / "queuectl.toml").write_text("[dashboard]\nenqueue = true\n")

    def queuectl(self, *words: str, text: str | None = None) -> None:
        subprocess.run(
            [sys.executable, "-m", "queuectl", *words], cwd=self.folder / "work", env=self.env, input=text, text=True,
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *words: str) -> Path:
        log = self.folder / f"{len(self.processes)}.log"
        with log.open("wb") as stderr:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "queuectl", *words], cwd=self.folder / "work", env=self.env, stderr=stderr
                )
            )
        return log

    def prepare(self) -> None:
        self.queuectl("enqueue", "--file", "-", text="\n".join(map(json.dumps, JOBS)))
        self.queuectl("queue", "set", "images", "--concurrency", "2")
        self.start("worker", "start", "--count", "4")
        log = self.start("dashboard", "--port", "0")
        for wave in range(4):  # so that charts have several minutes
            time.sleep(4 if os.environ.get("QUICK") else 40)
            self.queuectl("enqueue", "--file", "-", text="\n".join(map(json.dumps, JOBS[wave * 20 : 130])))
        self.queuectl("queue", "pause", "backup", "--reason", "the disk is being replaced")
        self.queuectl("enqueue", "--file", "-", text="\n".join(map(json.dumps, LATER)))
        time.sleep(4)
        found = re.search(r"dashboard at (\S+)", log.read_text())
        assert found, log.read_text()
        self.url = found[1].rstrip("/")

    def close(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGQUIT if process is self.processes[0] else signal.SIGTERM)
            process.wait(20)


def shoot(url: str, chosen: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for kind, (width, height, scheme) in KINDS.items():
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            for name in chosen:
                if name == "ask":
                    page.goto(f"{url}/dlq")
                    page.get_by_role("button", name="Retry all").click()
                else:
                    page.goto(url + PAGES[name])
                page.wait_for_timeout(600)
                page.screenshot(path=IMAGES / f"{name}-{kind}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
