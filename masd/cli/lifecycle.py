"""``masd registry`` and ``masd archive``."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from masd.cli.alarms import add_calibrate
from masd.cli.common import need
from masd.cli.numbers import count
from masd.errors import MasdError
from masd.files import json_text
from masd.registry.layout import place_of
from masd.registry.registry import Registry
from masd.registry.verify import verify


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("registry", help="list, compare, promote, roll back, check and prune models")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help_: str, *, machine: bool = True, as_json: bool = False) -> argparse.ArgumentParser:
        command = actions.add_parser(name, help=help_)
        command.add_argument(
            "--registry", default="registry", metavar="URL", help="a folder or s3://bucket/prefix (default ./registry)"
        )
        if machine:
            command.add_argument("machine", metavar="MACHINE")
        if as_json:
            command.add_argument("--json", action="store_true", help="one JSON object per line")
        return command

    action("list", "machines, versions and pointers", machine=False, as_json=True).set_defaults(run=_list)
    action("show", "versions and audit trail of one machine", as_json=True).set_defaults(run=_show)

    diff = action("diff", "what differs between two versions: settings, metrics, code, data, libraries", as_json=True)
    diff.add_argument("before", metavar="A")
    diff.add_argument("after", metavar="B")
    diff.set_defaults(run=_diff)

    promote = action("promote", "put a version into production")
    promote.add_argument("version", metavar="VERSION")
    promote.add_argument("--reason", required=True, help="kept in the audit trail")
    promote.set_defaults(run=_promote)

    rollback = action("rollback", "back to the version that was in production before")
    rollback.add_argument("--reason", required=True, help="kept in the audit trail")
    rollback.set_defaults(run=_rollback)

    add_calibrate(
        action("calibrate", "a new version whose threshold and normal scores are what was heard", as_json=True)
    )

    action("verify", "hash every file, check every pointer and record", machine=False).set_defaults(run=_verify)

    prune = action(
        "prune", "remove old versions; what a pointer names and the last three productions always stay", as_json=True
    )
    prune.add_argument("--keep", type=count, required=True, metavar="N", help="keep the newest N versions")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.set_defaults(run=_prune)

    archive = commands.add_parser("archive", help="make a TorchServe archive of a bundle")
    archive.add_argument("bundle", type=Path, metavar="BUNDLE")
    archive.add_argument("--out", type=Path, required=True, metavar="FILE.mar")
    archive.set_defaults(run=_archive)


def _registry(options: argparse.Namespace) -> Registry:
    registry = Registry.open(options.registry)
    if next(iter(registry.store.list("models/")), None) is None:
        raise MasdError(f"{registry.url}: is no registry (it has no models/); name one with --registry")
    return registry


def _check_known(registry: Registry, machine: str) -> None:
    if next(iter(registry.store.list(f"{place_of(machine)}/")), None) is None:
        known = ", ".join(registry.machines()) or "none"
        raise MasdError(f"{registry.url}: there is no machine {machine} (machines: {known})")


def _list(options: argparse.Namespace) -> int:
    registry = _registry(options)
    for machine in registry.machines():
        versions = registry.versions(machine)
        candidate, production = (registry.channel(machine, name) for name in ("candidate", "production"))
        if options.json:
            row = {"machine_type": machine, "versions": versions, "candidate": candidate, "production": production}
            print(json_text(row))
        else:
            pointers = f"production {production or '-'}, candidate {candidate or '-'}"
            print(f"{machine}: versions {', '.join(versions)}; {pointers}")
    return 0


def _show(options: argparse.Namespace) -> int:
    registry = _registry(options)
    _check_known(registry, options.machine)
    for version in registry.versions(options.machine):
        manifest = registry.manifest(options.machine, version)
        if options.json:
            about = {"created": manifest.created, "code_version": manifest.code_version, "metrics": manifest.metrics}
            print(json_text({"version": version, **about}))
            continue
        hmean = manifest.metrics.get("hmean")
        quality = f"  hmean {hmean:.3f}" if isinstance(hmean, float) else ""
        print(f"version {version}  {manifest.created}  code {manifest.code_version}{quality}")
    for record in registry.audit(options.machine):
        if options.json:
            print(json_text(record))
            continue
        print(
            f"{record['time']}  {record['event']}  {record['previous'] or '-'} -> {record['version']}  "
            f"{record['actor']}  {record['reason']}" + (f" (run {record['run']})" if record["run"] else "")
        )
    return 0


def _diff(options: argparse.Namespace) -> int:
    from masd.registry.diff import diff

    for difference in diff(_registry(options), options.machine, options.before, options.after):
        if options.json:
            print(json_text(asdict(difference)))
        else:
            before, after = (_shown(value) for value in (difference.before, difference.after))
            print(f"{difference.about:9} {difference.name}: {before} -> {after}")
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value) if isinstance(value, str) else json_text(value)


def _promote(options: argparse.Namespace) -> int:
    _registry(options).promote(options.machine, options.version, reason=options.reason)
    print(f"{options.machine}: version {options.version} is in production")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    version = _registry(options).rollback(options.machine, reason=options.reason)
    print(f"{options.machine}: version {version} is in production again")
    return 0


def _verify(options: argparse.Namespace) -> int:
    registry = _registry(options)
    problems = verify(registry)
    for problem in problems:
        print(f"masd: {problem}", file=sys.stderr)
    versions = sum(len(registry.versions(machine)) for machine in registry.machines())
    print(f"{versions} versions of {len(registry.machines())} machines checked, {len(problems)} problems")
    return 1 if problems else 0


def _prune(options: argparse.Namespace) -> int:
    from masd.registry.prune import prune

    registry = _registry(options)
    _check_known(registry, options.machine)
    pruned = prune(registry, options.machine, keep=options.keep, dry_run=options.dry_run)
    if options.json:
        print(json_text(asdict(pruned)))
        return 0
    done = "would be removed" if options.dry_run else "removed"
    for what, numbers in (("versions", pruned.versions), ("broken-off registrations", pruned.broken_off)):
        print(f"{options.machine}: {what} {done}: {', '.join(numbers) or 'none'}")
    return 0


def _archive(options: argparse.Namespace) -> int:
    print(need("serving.archive", "serving").archive(options.bundle, options.out))
    return 0
