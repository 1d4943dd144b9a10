"""``queuectl dashboard`` as a process: its options, its door, its end."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from desk import Dashboard
from driver import Driver, until

from queuectl.core.config import Config


def ask(url: str, **headers: str) -> tuple[int, str]:
    asked = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_with_a_token_file_only_who_has_a_token_comes_in(driver: Driver) -> None:
    file = driver.folder / "tokens"
    dashboard = Dashboard(driver, "--host", "0.0.0.0", "--token-file", str(file))
    said = dashboard.log.read_text()
    token = re.search(r"viewer token: (\S+)", said)
    assert token and "without TLS" in said and token[1] not in file.read_text()
    url = dashboard.url.replace("0.0.0.0", "127.0.0.1")
    assert ask(f"{url}/api/v1/stat")[0] == 401
    code, text = ask(f"{url}/api/v1/stat", Authorization=f"Bearer {token[1]}")
    assert code == 200 and token[1] not in text
    assert ask(f"{url}/api/v1/stat?token={token[1]}")[0] == 401, "a token in an address is no token"
    assert "Log in" in ask(f"{url}/jobs")[1]
    dashboard.close()
    assert dashboard.log.read_text().count(token[1]) == 1, "shown once, and never logged"


def test_beyond_this_machine_it_refuses_to_start_without_a_token(driver: Driver) -> None:
    done = driver.run("dashboard", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "--token-file" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_it_is_shown_in_a_browser_if_asked_for(driver: Driver) -> None:
    browser = driver.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {driver.folder}/shown\n')
    browser.chmod(0o755)
    driver.env["BROWSER"] = f"{browser} %s"
    dashboard = Dashboard(driver, "--open")
    shown = driver.folder / "shown"
    assert until(lambda: shown.exists() and shown.read_text().strip(), "a browser is told").rstrip("/") == dashboard.url
    dashboard.close()


def test_a_read_only_one_changes_nothing(driver: Driver) -> None:
    id = driver.enqueue("true")
    dashboard = Dashboard(driver, "--read-only")
    asked = urllib.request.Request(
        f"{dashboard.url}/api/v1/jobs/{id}/cancel", b"{}", {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=20)
    refused.value.close()
    assert refused.value.code == 403 and driver.job(id)["state"] == "pending"
    assert "read only" in ask(f"{dashboard.url}/jobs")[1]
    dashboard.close()


def test_below_a_prefix(driver: Driver) -> None:
    dashboard = Dashboard(driver, "--url-prefix", "/queue")
    assert dashboard.url.endswith("/queue")
    code, text = ask(f"{dashboard.url}/jobs")
    assert code == 200 and 'href="/queue/dlq"' in text
    assert ask(f"{dashboard.url}/api/v1/openapi.json")[1].count('"/queue/api/v1"') == 1
    dashboard.close()


def test_a_port_that_is_taken_is_said_in_a_sentence(driver: Driver, dashboard: Dashboard) -> None:
    port = dashboard.url.rpartition(":")[2]
    done = driver.run("dashboard", "--port", port, code=74)
    assert "cannot listen" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"), [("streams = 0", "streams"), ("hosts = [1]", "hosts"), ("open = true", "open")]
)
def test_its_table_is_checked(tmp_path: Path, text: str, said: str) -> None:
    from queuectl.api.errors import ConfigError

    (tmp_path / "q.toml").write_text(f"[dashboard]\n{text}\n")
    with pytest.raises(ConfigError, match=said):
        Config.load(str(tmp_path / "q.toml"), None)
