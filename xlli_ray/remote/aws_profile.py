"""Keys, region and server of a profile in `~/.aws`, which obstore does not read; variables of the environment come first."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from xlli_ray.errors import EnvironmentFailure

_KEYS = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key", "aws_session_token": "session_token"}
_BY_OTHER_MEANS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_SERVERS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")


def settings_of_profile() -> dict[str, str]:
    """Arguments for an S3 store, from the profile AWS_PROFILE, or else from `default` if there is one.

    Raises EnvironmentFailure if AWS_PROFILE names a profile without keys of its own:
    tokens of SSO and roles are obtained by Amazon's program.
    """
    named = os.environ.get("AWS_PROFILE")
    name = named or "default"
    profile = {**_section("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
               **_section("AWS_SHARED_CREDENTIALS_FILE", "credentials", name)}  # fmt: skip
    out = {}
    if not _given(_BY_OTHER_MEANS) and os.environ.get("AWS_SKIP_SIGNATURE", "").lower() not in ("1", "true"):
        out = {ours: profile[theirs] for theirs, ours in _KEYS.items() if theirs in profile}
        if named and "access_key_id" not in out:
            raise EnvironmentFailure(
                f"AWS_PROFILE={named}: this profile has no keys in ~/.aws/credentials; for SSO and roles, run "
                f'eval "$(aws configure export-credentials --profile {named} --format env)"'
            )
    if "region" in profile and not _given(_REGIONS):
        out["region"] = profile["region"]
    if "endpoint_url" in profile and not _given(_SERVERS):
        out["endpoint"] = profile["endpoint_url"]
    return out


def _given(names: tuple[str, ...]) -> bool:
    return any(os.environ.get(name) for name in names)


def _section(variable: str, file: str, section: str) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        parser.read(os.environ.get(variable) or Path("~/.aws").expanduser() / file)
    except (configparser.Error, OSError, UnicodeError, RuntimeError):
        return {}
    return parser[section] if parser.has_section(section) else {}
