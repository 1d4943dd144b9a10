from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Dashboard, Desk, Served
from driver import Driver
from needed import missing

from queuectl.core.app import App


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("QUEUECTL_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "tester")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, tokens=True)
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(App.open(None, str(tmp_path / "queue.db")))
    yield made
    made.close()


# --- A browser ------------------------------------------------------------------------------------

#: What keeps chromium from looking around on its own, and lets root start it.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium. Where it is missing these tests are skipped; in CI that is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing("there is no chromium: `make dev` as root installs Debian's")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def dashboard(driver: Driver) -> Iterator[Dashboard]:
    """``queuectl dashboard`` as a process, over the storage of a driver."""
    made = Dashboard(driver)
    yield made
    made.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails its test when a script fails in it or the browser refuses something."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    yield opened
    context.close()
    assert not troubles, troubles
