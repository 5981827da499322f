"""``masd registry`` and ``masd archive``."""

import argparse
import json
import sys
from pathlib import Path

from masd.cli.common import need
from masd.errors import MasdError
from masd.lifecycle.registry import Registry


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    group = commands.add_parser("registry", help="list, promote and roll back models")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help_: str, *, machine: bool = True) -> argparse.ArgumentParser:
        command = actions.add_parser(name, help=help_)
        command.add_argument(
            "--registry", default="registry", metavar="URL", help="a folder or s3://bucket/prefix (default ./registry)"
        )
        if machine:
            command.add_argument("machine", metavar="MACHINE")
        return command

    list_ = action("list", "machines, versions and pointers", machine=False)
    list_.add_argument("--json", action="store_true")
    list_.set_defaults(run=_list)
    show = action("show", "manifest and audit trail of one machine")
    show.set_defaults(run=_show)
    promote = action("promote", "put a version into production")
    promote.add_argument("version", metavar="VERSION")
    promote.add_argument("--reason", required=True, help="kept in the audit trail")
    promote.set_defaults(run=_promote)
    rollback = action("rollback", "back to the version that was in production before")
    rollback.add_argument("--reason", required=True, help="kept in the audit trail")
    rollback.set_defaults(run=_rollback)
    action("verify", "check every digest and every pointer", machine=False).set_defaults(run=_verify)

    archive = commands.add_parser("archive", help="make a TorchServe archive of a bundle")
    archive.add_argument("bundle", type=Path, metavar="BUNDLE")
    archive.add_argument("--out", type=Path, required=True, metavar="FILE.mar")
    archive.set_defaults(run=_archive)


def _registry(options: argparse.Namespace) -> Registry:
    registry = Registry.open(options.registry)
    if not registry.machines():
        raise MasdError(f"{registry.url}: holds no models; name another registry with --registry")
    return registry


def _list(options: argparse.Namespace) -> int:
    registry = _registry(options)
    for machine in registry.machines():
        row = {
            "machine_type": machine,
            "versions": registry.versions(machine),
            "candidate": registry.channel(machine, "candidate"),
            "production": registry.channel(machine, "production"),
        }
        if options.json:
            print(json.dumps(row))
        else:
            print(
                f"{machine}: versions {', '.join(registry.versions(machine))}; "
                f"production {row['production'] or '-'}, candidate {row['candidate'] or '-'}"
            )
    return 0


def _show(options: argparse.Namespace) -> int:
    registry = _registry(options)
    for version in registry.versions(options.machine):
        manifest = registry.manifest(options.machine, version)
        hmean = manifest.metrics.get("hmean")
        quality = f"  hmean {hmean:.3f}" if isinstance(hmean, float) else ""
        print(f"version {version}  {manifest.created}  code {manifest.code_version}{quality}")
    for record in registry.audit(options.machine):
        print(
            f"{record['time']}  {record['event']}  {record['previous'] or '-'} -> {record['version']}  "
            f"{record['actor']}  {record['reason']}"
        )
    return 0


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
    problems = registry.verify()
    for problem in problems:
        print(f"masd: {problem}", file=sys.stderr)
    versions = sum(len(registry.versions(machine)) for machine in registry.machines())
    print(f"{versions} versions of {len(registry.machines())} machines checked, {len(problems)} problems")
    return 1 if problems else 0


def _archive(options: argparse.Namespace) -> int:
    print(need("serving.archive", "serving").archive(options.bundle, options.out))
    return 0
