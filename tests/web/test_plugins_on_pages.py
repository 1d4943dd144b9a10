"""Plugins add pages and boxes to the dashboard, and one that fails is a note and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Desk

PLUGIN = """
import flask
from markupsafe import escape
from queuectl.api import Panel, hookimpl

@hookimpl
def queuectl_blueprints(storage):
    pages = flask.Blueprint("shop", __name__)

    @pages.get("/")
    def index():
        return flask.render_template_string(
            "{% extends 'page.html' %}{% block content %}<h1>Shop</h1>{{ n }} queues{% endblock %}",
            n=len(storage().stat()),
        )

    @pages.post("/change")
    def change():
        return "changed"

    yield pages

@hookimpl
def queuectl_panels(storage):
    yield Panel("Late", lambda: "<p>second</p>", order=200)
    yield Panel("Early", lambda: f"<p>{escape('<first>')} {len(storage().stat())}</p>")
    yield Panel("Broken", lambda: 1 / 0)
"""
BROKEN = """
from queuectl.api import hookimpl

@hookimpl
def queuectl_blueprints(storage):
    return ["not a blueprint"]

@hookimpl
def queuectl_panels(storage):
    raise RuntimeError("no panels today")
"""


@pytest.fixture
def extended(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, plugin=PLUGIN)
    made.enqueue(queue="a")
    yield made
    made.close()


def test_a_page_of_a_plugin_is_in_the_menu_and_behind_the_gate(extended: Desk) -> None:
    assert 'href="/x/shown-plugin/"' in extended.page("/")
    assert "1 queues" in extended.page("/x/shown-plugin/")
    assert "Content-Security-Policy" in extended.get("/x/shown-plugin/").headers
    refused = extended.client.post("/x/shown-plugin/change", base_url="http://localhost:8765")
    assert refused.status_code == 403
    assert extended.post("/x/shown-plugin/change").text == "changed"


def test_panels_come_in_their_order_and_a_broken_one_is_a_note(extended: Desk) -> None:
    html = extended.page("/")
    assert html.index("&lt;first&gt; 1") < html.index("<p>second</p>")
    assert "ZeroDivisionError" in html and "Broken" in html


def test_a_plugin_that_fails_has_no_pages_and_stops_nobody(tmp_path: Path) -> None:
    desk = Desk(tmp_path, plugin=BROKEN)
    desk.page("/")
    html = desk.page("/system")
    assert "no panels today" in html and "not a Blueprint" in html
    desk.close()
