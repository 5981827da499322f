"""``masd registry show``."""

import argparse

from masd.cli.registry.options import Actions, check_known, open_registry
from masd.errors import one_line
from masd.files import json_text


def add_command(actions: Actions) -> None:
    actions.add("show", "show the versions and the audit trail of one machine", as_json=True).set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    registry = open_registry(options)
    check_known(registry, options.machine)
    for version in registry.versions(options.machine):
        manifest = registry.manifest(options.machine, version)
        if options.json:
            about = {"created": manifest.created, "code_version": manifest.code_version, "metrics": manifest.metrics}
            readable = {"bundle_schema": manifest.schema_version, "readable": not manifest.needs}
            print(json_text({"version": version, **about, **readable}))
            continue
        hmean = manifest.metrics.get("hmean")
        quality = f"  hmean {hmean:.3f}" if isinstance(hmean, float) else ""
        print(f"version {version}  {manifest.created}  code {manifest.code_version}{quality}")
        if manifest.needs:
            print(f"  {manifest.needs}")
    for record in registry.audit(options.machine):
        if options.json:
            print(json_text(record))
            continue
        line = (
            f"{record['time']}  {record['event']}  {record['previous'] or '-'} -> {record['version']}  "
            f"{one_line(record['actor'])}  {one_line(record['reason'])}"
        )
        print(f"{line} (run {one_line(record['run'])})" if record["run"] else line)
    return 0
