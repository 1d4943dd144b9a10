"""``queuectl plugins new`` and ``queuectl plugins check``: the kit of somebody who writes a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import BadInput
from queuectl.cli.render import emit_json, safe_line, safe_text, say, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.model import Finding
    from queuectl.cli import Program
    from queuectl.core.plugins import Plugin
    from queuectl.testing.kit.proving import Proof, Test

KINDS = ("storage", "executor", "backoff", "notifier", "observer", "command")


def find_plugins(program: Program, name: str) -> list[Plugin]:
    """The plugins that somebody means by *name*. BadInput, with the nearest, if there is none."""
    found = program.app.plugins.named(name)
    if not found:
        from queuectl.core.options import suggestion

        known = [plugin.name for plugin in program.app.plugins.every()]
        raise BadInput(f"there is no plugin {name!r}{suggestion(name, known)}; 'queuectl plugins list' has them all")
    return found


# --- Beginning one ------------------------------------------------------------------------------


@click.command("new")
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What it is to be.")
@click.option("--into", metavar="FOLDER", help="Where to write it (default: ./queuectl-NAME).")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as a JSON object.")
def new(name: str, kind: str, into: str | None, as_json: bool) -> None:
    """Write the package of a new plugin: it installs, is typed, and its tests pass. Then make it yours.

    \b
      queuectl plugins new fair-share --kind backoff
      queuectl plugins new s3 --kind storage --into ~/src/queuectl-s3
    """
    from pathlib import Path

    from queuectl.cli import COMMANDS
    from queuectl.core.plugins import BUILTIN
    from queuectl.testing.kit.scaffold import begin, plain_name

    taken = COMMANDS if kind == "command" else {built_in for _, built_in in BUILTIN}
    if plain_name(name) in taken:
        raise BadInput(f"{name!r} is built in, and its name cannot be taken: use another")
    begun = begin(name, kind, Path(into).expanduser() if into is not None else None)
    if as_json:
        emit_json({"distribution": begun.distribution, "folder": str(begun.folder.resolve()), "files": begun.files})
        return
    folder = safe_text(str(begun.folder))
    write(f"{folder}: {kind} plugin of {len(begun.files)} files. To make it yours:\n\n")
    write(f"  cd {folder} && pip install -e '.[test]' && pytest\n")


# --- Proving one --------------------------------------------------------------------------------


@click.command("check")
@click.argument("name", metavar="NAME")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="An option of the component, for its tests.")
@click.option("--claim", "claims", metavar="KEY=VALUE", multiple=True, help="A claim or a size of the suite.")
@click.option("--only", metavar="KIND", help="Prove its components of this kind only.")
@click.option("--no-suite", is_flag=True, help="Look at it only: run no suite.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(1), default=600.0, help="For each suite (600).")
@click.option("--yes", is_flag=True, help="Let a notifier deliver the events of its tests.")
@click.option("--verbose", "-v", is_flag=True, help="Say of every test what it demands.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as a JSON object.")
@click.pass_context
def check(
    ctx: click.Context,
    name: str,
    sets: tuple[str, ...],
    claims: tuple[str, ...],
    only: str | None,
    no_suite: bool,
    timeout: float,
    yes: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Prove that a plugin keeps its contracts: NAME is a plugin, its distribution, or a file.

    \b
      queuectl plugins check fair-share
      queuectl plugins check ./exit_codes.py
      queuectl plugins check redis --set prefix={fresh} --set url=redis://127.0.0.1:6379/5
      queuectl plugins check docker --claim here=false --set image=debian:stable-slim

    It is loaded, its hooks and options are looked at, and each component it offers goes through the suite of its kind
    (queuectl.testing), which needs pytest. Exits with 1 if anything fails. Tests of a storage make storages of their
    own: options that are paths lie in a new folder; in other options {fresh} stands for a word that is new each time.
    """
    from queuectl.cli import COMMANDS
    from queuectl.core.plugins import OFFERS
    from queuectl.testing.kit.findings import look_at

    program: Program = ctx.obj
    if only is not None and only not in OFFERS:
        raise BadInput(f"--only {only}: choose from {', '.join(OFFERS)}")
    report: list[tuple[Plugin, list[Finding], list[Proof]]] = []
    for plugin in find_plugins(program, name):
        findings = look_at(plugin, program.app.plugins, COMMANDS)
        kinds = [] if no_suite or plugin.error or plugin.disabled else [only] if only else list(OFFERS)
        proofs = _prove(program, plugin, kinds, _pairs("--set", sets), _pairs("--claim", claims), timeout, yes)
        report.append((plugin, findings, proofs))
    if as_json:
        shapes = [_shape(*each) for each in report]
        emit_json(shapes[0] if len(shapes) == 1 else shapes)
    else:
        write("\n".join(safe_text(_page(*each, verbose=verbose)) for each in report))
    ctx.exit(0 if all(_is_good(findings, proofs) for _, findings, proofs in report) else 1)


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadInput(f"{option} {word}: expected KEY=VALUE")
        pairs[key] = value
    return pairs


def _prove(
    program: Program,
    plugin: Plugin,
    kinds: Sequence[str],
    sets: dict[str, str],
    claims: dict[str, str],
    seconds: float,
    yes: bool,
) -> list[Proof]:
    """Run the suites of a plugin's components, one after the other."""
    from queuectl.testing.kit import proving

    wanted = [(kind, offer) for kind in kinds for offer in plugin.offers[kind]]
    if wanted:
        proving.need_pytest()
    config = program.app.config
    requests = [
        proving.request_for(kind, offer, plugin.value, config, sets, claims, may_deliver=yes) for kind, offer in wanted
    ]
    proofs = []
    for request, (kind, offer) in zip(requests, wanted, strict=True):
        say(f"queuectl: the {kind} suite for {offer.name} …")
        proofs.append(proving.prove(request, offer, seconds))
    return proofs


def _is_good(findings: Sequence[Finding], proofs: Sequence[Proof]) -> bool:
    return all(finding.level != "error" for finding in findings) and all(proof.kept for proof in proofs)


def _page(plugin: Plugin, findings: Sequence[Finding], proofs: Sequence[Proof], *, verbose: bool) -> str:
    lines = [f"{plugin.name}: {plugin.origin} ({plugin.value})"]
    for finding in findings:
        lines.append(f"  {finding.level:<8} {safe_line(finding.text)}")
        if finding.advice and finding.level != "ok":
            lines.append(f"           {safe_line(finding.advice)}")
    for proof in proofs:
        lines += _proof_lines(proof, verbose)
    lines.append("It keeps its contracts." if _is_good(findings, proofs) else "It does not keep its contracts.")
    return "\n".join(lines) + "\n"


def _proof_lines(proof: Proof, verbose: bool) -> list[str]:
    counts = ", ".join(f"{n} {word}" for word in ("passed", "failed", "skipped") if (n := proof.how_many(word)))
    lines = [f"  {'ok' if proof.kept else 'error':<8} {proof.kind} {proof.name}: {counts or 'no test ended'}"]
    if proof.fault:
        lines.append(f"           {safe_line(proof.fault)}")
    if proof.supports or proof.lacks:
        lines.append(f"           supports: {', '.join(proof.supports) or 'nothing beyond the minimum'}")
    if proof.lacks:
        lines.append(f"           without:  {', '.join(proof.lacks)}")
    for test, *alike in _told(proof.tests, verbose):
        lines.append(f"    {test.outcome:<7} {safe_line(test.name)}")
        lines.append(f"            demands: {safe_line(test.demand)}")
        lines += [f"            {safe_line(line)}" for line in test.message.splitlines()]
        if alike:
            lines.append(f"            the same in {safe_line(', '.join(other.name for other in alike))}")
    return lines


def _told(tests: Sequence[Test], verbose: bool) -> list[list[Test]]:
    """The tests to speak of. What failed for the same reason is told once, with the others after it."""
    if verbose:
        return [[test] for test in tests]
    alike: dict[str, list[Test]] = {}
    for test in tests:
        if test.outcome == "failed":
            alike.setdefault(test.message, []).append(test)
    return list(alike.values())


def _shape(plugin: Plugin, findings: Sequence[Finding], proofs: Sequence[Proof]) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution or None,
        "version": plugin.version or None,
        "module": plugin.value,
        "ok": _is_good(findings, proofs),
        "findings": [finding._asdict() for finding in findings],
        "suites": [
            {
                "kind": proof.kind,
                "name": proof.name,
                "ok": proof.kept,
                "fault": proof.fault or None,
                **{word: proof.how_many(word) for word in ("passed", "failed", "skipped")},
                "supports": proof.supports,
                "lacks": proof.lacks,
                "tests": [test._asdict() for test in proof.tests],
            }
            for proof in proofs
        ],
    }
