"""What this is made of: plugins, configuration with origins, and what the doctor says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, render_template

from queuectl.api.errors import QueueCTLError
from queuectl.core.doctor import examine
from queuectl.core.effective import rows
from queuectl.web.site import site

if TYPE_CHECKING:
    from queuectl.api.model import Finding

blueprint = Blueprint("system", __name__)


@blueprint.get("/system")
def index() -> str:
    return _page(None)


@blueprint.post("/system/doctor")
def doctor() -> str:
    """Ask the doctor, who may put counts right: that is why this is a change."""
    return _page(list(examine(lambda: site().app)))


def _page(findings: list[Finding] | None) -> str:
    app = site().app
    values: list[Any] = []
    problem = ""
    try:
        values = list(rows(app))
    except QueueCTLError as error:
        problem = str(error)
    return render_template(
        "system.html",
        findings=findings,
        plugins=app.plugins.every(),
        failures=app.plugins.failures,
        values=values,
        problem=problem,
        storage=app.config.main.storage,
        sizes=app.storage.sizes(),
        identity=app.storage.identity,
        home=app.home,
        abilities=sorted(ability.value for ability in app.storage.abilities),
        chosen={(kind, name) for kind, name, _ in app.config.named_components()},
    )
