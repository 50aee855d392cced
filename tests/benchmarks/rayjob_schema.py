"""Is `docs/clusters/rayjob.yaml` a RayJob by KubeRay's own definition? For a new release of KubeRay, or a file of your own.

    python tests/benchmarks/rayjob_schema.py --crd ray.io_rayjobs.yaml [--file docs/clusters/rayjob.yaml]

The definition comes with each release of ray-project/kuberay: ray-operator/config/crd/bases/ray.io_rayjobs.yaml. A cluster would drop
fields that are not in it without a word; here they are errors, unless the definition says that it takes any. Exit code 1 and a list.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

FILE = Path(__file__).resolve().parents[2] / "docs/clusters/rayjob.yaml"


def strict(schema: Any) -> Any:
    """The schema with every field that it does not name refused."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(one) for name, one in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        made["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return made


def findings(definition: dict[str, Any], job: dict[str, Any]) -> list[str]:
    """What is wrong with `job`, each with its place. Raises LookupError if the definition has no such version."""
    version = job["apiVersion"].partition("/")[2]
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == version] or [None]
    if schema is None:
        raise LookupError(f"the definition has no version {version}")
    made = strict(schema)
    made["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(made).iter_errors(job)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crd", type=Path, required=True)
    parser.add_argument("--file", type=Path, default=FILE)
    arguments = parser.parse_args()
    definition = yaml.safe_load(arguments.crd.read_text())
    jobs = [one for one in yaml.safe_load_all(arguments.file.read_text()) if one and one["kind"] == "RayJob"]
    wrong = [line for job in jobs for line in findings(definition, job)]
    print("\n".join(wrong) or f"{len(jobs)} RayJob: every field is known, of the right type, and none is missing")
    return 1 if wrong or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
