"""The door: where a browser shows its token, and leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, make_response, redirect, render_template, request, url_for

from queuectl.web.gate import COOKIE, gate

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

door = Blueprint("door", __name__)


@door.get("/login")
def login() -> str | Response:
    if gate().tokens is None:
        return redirect(url_for("overview.show"))
    return render_template("login.html", next=inside(request.args.get("next", "")))


@door.post("/login")
def try_token() -> Response:
    onward = inside(request.form.get("next", ""))
    if gate().tokens is None:
        return redirect(onward)
    visitor = gate().check(request.form.get("token", "").strip())
    if visitor is None:
        return make_response(render_template("login.html", next=onward, wrong=True), 401)
    response = make_response(redirect(onward))
    response.set_cookie(
        COOKIE,
        gate().sessions.begin(visitor),
        httponly=True,
        samesite="Strict",
        secure=request.headers.get("Origin", "").startswith("https:"),
        path=request.script_root or "/",
    )
    return response


@door.post("/logout")
def logout() -> Response:
    gate().sessions.end(request.cookies.get(COOKIE, ""))
    response = make_response(redirect(url_for("door.login")))
    response.delete_cookie(COOKIE, path=request.script_root or "/")
    return response


@door.post("/theme")
def theme() -> Response:
    """Light, dark, or as the system has it."""
    chosen = request.form.get("theme", "")
    response = make_response(redirect(inside(request.form.get("next", ""))))
    if chosen in ("light", "dark"):
        response.set_cookie(
            "queuectl_theme", chosen, samesite="Strict", path=request.script_root or "/", max_age=31536000
        )
    else:
        response.delete_cookie("queuectl_theme", path=request.script_root or "/")
    return response


def inside(path: str) -> str:
    """*path* if it is one of this site, else the first page: a link must not lead who logs in somewhere else."""
    if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable():
        root = request.script_root
        return path if path.startswith(f"{root}/") else f"{root}{path}"
    return url_for("overview.show")
