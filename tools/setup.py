"""Make ``.venv`` with everything the project needs, from nothing but Python and pip.

    python3 tools/setup.py          what `make demo` needs
    python3 tools/setup.py --dev    what `make test` needs as well

Standard library only, and old Python in what it says of Python: this file has to get as far as its own advice on a
machine that has nothing else. It tries, in this order, the ways that exist: pip from outside into the new environment
(bare Debian has neither ensurepip nor a pip that may install into the system, and this needs neither), then ensurepip
inside it, then uv. A stamp of what was installed makes a second call cost nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (3, 11)
#: Where Windows differs, nothing but this does.
BIN = "Scripts" if sys.platform == "win32" else "bin"


class Program(NamedTuple):
    """Something that tests drive."""

    commands: tuple[str, ...]  # any of these will do
    packages: tuple[str, ...]  # of Debian
    tests: str  # that are skipped without it
    size: str


PROGRAMS = (
    Program(("chromium", "chromium-browser"), ("chromium", "fonts-dejavu-core"), "the browser tests", "120 MB"),
    Program(("redis-server",), ("redis-server",), "the tests of queuectl-redis", "5 MB"),
    Program(("dockerd", "/usr/sbin/dockerd"), ("docker.io",), "the tests of queuectl-docker", "65 MB"),
)


class Failed(Exception):
    """One way did not work. The message is what it said."""


def main() -> int:
    """Set up what was asked for; 0 when it is there, 1 with advice on stderr when it cannot be."""
    options = argparse.ArgumentParser(description="Make .venv with everything the project needs.")
    options.add_argument("--dev", action="store_true", help="with all that the tests and linters need")
    options.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where (default: .venv)")
    asked = options.parse_args()

    if sys.version_info < NEEDED:
        return newer_python()
    venv, python = asked.venv, asked.venv / BIN / "python"
    wanted = stamp_of(asked.dev)
    if up_to_date(venv, wanted):
        return 0
    say(f"setting up {venv} with Python {sys.version.split()[0]}" + (" for development" if asked.dev else ""))
    try:
        make_venv(venv)
        install(python, targets(asked.dev))
    except Failed as failure:
        say(str(failure))
        return 1
    (venv / "queuectl.stamp").write_text(wanted, encoding="utf-8")
    if asked.dev:
        programs()
    return 0


def newer_python() -> int:
    """Go on with a newer Python if there is one under its own name, else say what is needed."""
    for minor in (14, 13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return subprocess.run([found, *sys.argv], check=False).returncode
    say(f"QueueCTL needs Python 3.11 or newer; this is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")
    return 1


# --- Is there anything to do? -----------------------------------------------------------------


def stamp_of(dev: bool) -> str:
    """A text that changes whenever the environment has to be made anew; the first word is how much is in it."""
    seen = hashlib.sha256(f"{sys.version}\n{os.path.realpath(sys.executable)}\n{ROOT}\n".encode())
    for path in [ROOT / "pyproject.toml", *plugins(), Path(__file__)]:
        seen.update(path.read_bytes())
    return f"{'dev' if dev else 'run'} {seen.hexdigest()}\n"


def up_to_date(venv: Path, wanted: str) -> bool:
    """Whether the environment has what is wanted; one made for development has all that running needs."""
    try:
        found = (venv / "queuectl.stamp").read_text(encoding="utf-8")
    except OSError:
        return False
    enough = found == wanted or found == wanted.replace("run ", "dev ", 1)
    return enough and (venv / BIN / "python").exists()


def plugins() -> list[Path]:
    """The project files of our separately installable plugins."""
    return sorted(ROOT.glob("plugins/*/pyproject.toml"))


def targets(dev: bool) -> list[str]:
    """What to install. In one call, so that what the plugins need is resolved to the checkout and nothing else."""
    words = ["--editable", f"{ROOT}[dev]" if dev else str(ROOT)]
    for project in plugins() if dev else ():
        words += ["--editable", str(project.parent)]
    return words


# --- Doing it ---------------------------------------------------------------------------------


def make_venv(venv: Path) -> None:
    """An empty environment, without pip: whether pip can be had inside is asked later, and seldom needed."""
    (venv / "queuectl.stamp").unlink(missing_ok=True)
    try:
        call([sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)])
    except Failed as failure:
        if not shutil.which("virtualenv"):
            raise Failed(
                f"{failure}\nPython's venv module does not work here (Debian: apt install python3-venv)."
            ) from failure
        call(["virtualenv", "--quiet", "--clear", "--python", sys.executable, str(venv)])


def install(python: Path, words: list[str]) -> None:
    """Install by the first way that works; if none does, say what each of them said."""
    said = []
    for name, way in (("pip", outer_pip), ("ensurepip", inner_pip), ("uv", uv)):
        try:
            way(python, words)
            return
        except Failed as failure:
            said.append(f"{name}: {failure}")
    raise Failed("\n".join([*said, "Nothing could install the project: it needs pip 22.3 or newer, ensurepip, or uv."]))


def outer_pip(python: Path, words: list[str]) -> None:
    """The pip that is here already, told to work on the other environment (``--python``: pip 22.3)."""
    pip = [sys.executable, "-m", "pip"]
    try:
        call([*pip, "--python", str(python), "--version"], quiet=True)
    except Failed:
        found = shutil.which("pip3") or shutil.which("pip")
        if found is None:
            raise Failed("there is none for this Python (Debian: apt install python3-pip)") from None
        pip = [found]
        call([*pip, "--python", str(python), "--version"], quiet=True)
    call([*pip, "--python", str(python), *INSTALL, *words])


def inner_pip(python: Path, words: list[str]) -> None:
    """A pip of the environment's own, from the wheel that most Pythons bring along."""
    call([str(python), "-m", "ensurepip"], quiet=True)
    call([str(python), "-m", "pip", *INSTALL, *words])


def uv(python: Path, words: list[str]) -> None:
    """uv needs no pip at all."""
    found = shutil.which("uv")
    if found is None:
        raise Failed("not installed")
    call([found, "pip", "install", "--quiet", "--python", str(python), *words])


def programs() -> None:
    """What the tests drive and no index of Python's has, from Debian's packages, where this user may install them.

    Tests that miss one are skipped, by name; in CI (``CI=true``) that is a failure.
    """
    missing = [wanted for wanted in PROGRAMS if not any(shutil.which(name) for name in wanted.commands)]
    if not missing:
        return
    if sys.platform != "linux" or os.getuid() != 0 or not shutil.which("apt-get"):
        for wanted in missing:
            say(
                f"no {wanted.commands[0]} here: {wanted.tests} will be skipped "
                f"(Debian: apt install {wanted.packages[0]})"
            )
        return
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    try:
        call([*apt, "update"])
    except Failed as failure:
        say(f"the list of Debian's packages could not be renewed: {failure}")
    for wanted in missing:
        say(f"installing {wanted.commands[0]} for {wanted.tests} (about {wanted.size})")
        try:
            call([*apt, "install", "--yes", "--no-install-recommends", *wanted.packages])
        except Failed as failure:
            say(f"{wanted.packages[0]} could not be installed, so {wanted.tests} will be skipped: {failure}")


INSTALL = ["--quiet", "--disable-pip-version-check", "--no-input", "install"]


def call(argv: list[str], quiet: bool = False) -> None:
    """Run a program; what it says is kept for the case that it fails, since pip warns of much that is no trouble."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH", "PIP_USER")}
    try:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError as error:
        raise Failed(f"{argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        text = done.stdout.decode(errors="replace").strip()
        raise Failed("did not work" if quiet else f"{' '.join(argv)}\n{text}")


def say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
