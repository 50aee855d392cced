"""`cluster.yaml`: Ray takes it, every field is explained, a token is asked for, and no port is opened to the world."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "cluster.yaml").read_text()


@pytest.fixture(scope="module")
def config(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


def aws_variant(text: str) -> dict[str, Any]:
    """The file with its commented last block in force, as its comment says to do it."""
    base = yaml.safe_load(text)
    block = text[text.index("# provider:\n#   type: aws") :]
    fields = yaml.safe_load("\n".join(line.removeprefix("# ") for line in block.splitlines()))
    del base["min_workers"]
    return {**base, **fields}


def validated(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` does before it touches a machine. Raises what Ray raises."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def test_rays_own_validator_accepts_the_file(config: dict[str, Any]) -> None:
    assert config["provider"]["type"] == "local"
    prepared = validated(config)
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["min_workers"] == node_type["max_workers"] == len(config["provider"]["worker_ips"]) == config["max_workers"]


def test_rays_own_validator_accepts_the_commented_aws_variant(text: str) -> None:
    config = aws_variant(text)
    assert config["provider"]["type"] == "aws"
    assert config["head_start_ray_commands"] == yaml.safe_load(text)["head_start_ray_commands"]
    prepared = validated(config)
    assert set(prepared["available_node_types"]) == {"head", "worker"}


def test_rays_validator_is_really_asked(config: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        validated({**config, "idle_timeout_minuets": 5})


def test_every_field_is_explained_in_a_comment_above_it(text: str, config: dict[str, Any]) -> None:
    lines = text.splitlines()
    for name in config:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[at - 1].startswith("# "), f"{name} has no comment above it"
    for section in ("provider", "auth"):
        for name in config[section]:
            at = next(i for i, line in enumerate(lines) if re.match(rf"  {name}:", line))
            assert lines[at - 1].strip().startswith("#") or name == "type", f"{section}.{name} has no comment above it"


def test_every_field_that_rays_schema_knows_for_this_provider_is_there(config: dict[str, Any]) -> None:
    import json

    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    # containers, other providers' node types, Ray's own flag, and free notes are not ours to set
    left_out = {"docker", "head_node_type", "available_node_types", "no_restart", "metadata"}
    assert set(schema["properties"]) - left_out <= set(config)


def test_a_token_is_asked_for_on_every_node_and_brought_there(config: dict[str, Any]) -> None:
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        (command,) = [line for line in commands if "ray start" in line]
        assert command.index("RAY_AUTH_MODE=token") < command.index("ray start")
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_dashboard_and_jobs_api_listen_on_the_loopback_only(text: str, config: dict[str, Any]) -> None:
    (command,) = config["head_start_ray_commands"]
    assert "--dashboard-host=127.0.0.1" in command
    assert "--include-dashboard=true" in command
    said = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "0.0.0.0" not in said


def test_nobody_elses_ray_is_ended_and_no_secret_stands_in_the_file(text: str, config: dict[str, Any]) -> None:
    commands = [line for key, value in config.items() if key.endswith("_commands") for line in value]
    assert not any("ray stop" in line for line in commands)
    assert not re.search(r"RAY_AUTH_TOKEN=|AKIA|secret_access_key", text)


def test_threads_are_pinned_and_the_jobs_command_is_installed_and_found(config: dict[str, Any]) -> None:
    assert any("pip install" in line and "~/xlli_ray" in line for line in config["setup_commands"])
    assert "~/xlli_ray" in config["file_mounts"]
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        for name in ("OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "PATH=~/xlli-venv/bin"):
            assert name in commands[0]
