"""What test_deploy_files.py asks of the deploy files, each refusal as an AssertionError."""

import copy
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from raypool.config import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.dev.yml")
RAY_ENVIRONMENT = "raypool/ray.env"
DEPLOY_FILES = (
    *COMPOSE_FILES, "cluster.yaml", RAY_ENVIRONMENT, "redis.conf", "Dockerfile", ".dockerignore",
)  # fmt: skip
SECRETS = (
    "REDIS_PASSWORD",
    "RAY_AUTH_TOKEN",
    "RAYPOOL_ENCRYPTION_KEYS",
    "REDIS_COMMANDER_PASSWORD",
)
OTHERS_VARIABLES = {
    "REDIS_HOST", "REDIS_PORT",  # Redis Commander's own
    "RAY_HEAD_IP",  # set by Ray's cluster launcher
}  # fmt: skip
PROGRAMS = {
    "raypool:local": {"raypool", "ray", "sh"},
    "valkey/valkey": {"valkey-server", "valkey-cli", "sh"},
}
SHELL_WORDS = {"set", ".", "ulimit", "wait"}

Document = dict[str, Any]


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text()


def load(name: str) -> Document:
    document = yaml.safe_load(text(name))
    assert isinstance(document, dict)
    return document


def _package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


@cache
def _schema(package: str, *parts: str) -> Document:
    schema: Document = json.loads(_package_file(package, *parts).read_text())
    return schema


def check_compose(document: Document) -> None:
    """Refuse what the Compose specification does not know."""
    parts = ("builtin_schemas", "vendor", "compose-spec.json")
    jsonschema.validate(document, _schema("check_jsonschema", *parts))


def check_cluster(document: Document) -> None:
    """Refuse what Ray's cluster launcher does not know."""
    jsonschema.validate(document, _schema("ray", "autoscaler", "ray-schema.json"))


def check_dependencies(services: Document) -> None:
    """Refuse a dependency that is not waited for until it is healthy."""
    for name, service in services.items():
        for other, rule in service.get("depends_on", {}).items():
            assert rule["condition"] == "service_healthy", f"{name} does not wait for {other}"
            assert services[other].get("healthcheck", {}).get("test"), f"{other} has no healthcheck"


def check_loopback(services: Document) -> None:
    """Refuse a port that other machines could reach, and a container on the host's network."""
    for name, service in services.items():
        assert "network_mode" not in service, f"{name} leaves its network"
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name} publishes {port} beyond loopback"


def check_secrets(text: str) -> None:
    """Refuse a secret that is written out, or that may be missing without a word."""
    for name in SECRETS:
        literal = re.search(rf"(?<!\$\{{)\b{name}\b\s*[:=]\s*(?![\"']?\$\{{|…)\S+", text)
        assert not literal, f"{name} is written out: {literal}"
        for use in re.findall(rf"\$\{{?{name}\b[^}}]*\}}?", text):
            assert re.fullmatch(rf"\$\{{{name}:\?put {name} into \.env, [^}}]+\}}", use), use
    assert not re.search(r"://[^\s/]*:(?!\$\{)[^\s/@]+@", text), "a URL carries a password"
    assert not re.search(r"(?m)^\s*requirepass\b", text), "redis.conf carries a password"


def check_commands(services: Document) -> None:
    """Refuse a command whose program is not in the service's image."""
    for name, service in services.items():
        programs = next((p for i, p in PROGRAMS.items() if service["image"].startswith(i)), set())
        commands = [service.get("command", []), service.get("healthcheck", {}).get("test", [])]
        for program in (p for command in commands for p in programs_of(command)):
            assert program in programs | SHELL_WORDS, f"{name} has no {program}"


def programs_of(command: list[str]) -> Iterator[str]:
    words = command[1:] if command[:1] == ["CMD"] else command
    if words[:1] == ["CMD-SHELL"]:
        yield from (p for p in _shell_programs(words[1]) if p != "grep")
    elif words[:2] == ["sh", "-c"]:
        yield from _shell_programs(words[2])
    else:
        yield from words[:1]


def _shell_programs(line: str) -> Iterator[str]:
    for part in re.split(r"&&|\|\||[;&|]", line):
        words = shlex.split(part)
        while words and re.match(r"[A-Za-z_]+=", words[0]):
            words.pop(0)
        yield from words[:1]


def services_of_both() -> Document:
    """Return the services of both compose files as Compose merges them."""
    merged: Document = copy.deepcopy(load(COMPOSE_FILES[0])["services"])
    for name, service in load(COMPOSE_FILES[1])["services"].items():
        own = merged.setdefault(name, {})
        for key, value in service.items():
            own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def ray_environment() -> dict[str, str]:
    """Return what ray.env sets, refusing a line that Docker, a shell and Python read differently."""
    lines = [x for x in text(RAY_ENVIRONMENT).splitlines() if x and not x.startswith("#")]
    assert all(re.fullmatch(r"RAY_\w+=[\w.]+", line) for line in lines), lines
    assert len({line.partition("=")[0] for line in lines}) == len(lines), "one is set twice"
    return dict(line.split("=") for line in lines)


def ray_variables(command: str) -> dict[str, str]:
    """Return the variables of Ray's own that a command line sets."""
    return dict(re.findall(r"\b(RAY_\w+)=(\S+?);?(?=\s|$)", command))


def ray_flags(command: str) -> dict[str, str]:
    """Return the flags of the ``ray start`` in a command line."""
    words = shlex.split(command.partition("ray start")[2])
    pairs = (word.partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def cluster_commands() -> list[str]:
    cluster = load("cluster.yaml")
    return [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]


def settings() -> set[str]:
    fields = Settings.model_fields.values()
    return {str(choice) for f in fields for choice in getattr(f.validation_alias, "choices", ())}


@cache
def _raylet() -> bytes:
    return _package_file("ray", "core", "src", "ray", "raylet", "raylet").read_bytes()


def ray_knows(variable: str) -> bool:
    """Whether Ray's own code names the variable: the raylet as a whole string, or its constants."""
    name = variable.removeprefix("RAY_").encode()
    if b"\0" + name + b"\0" in _raylet() or b"RAY_" + name + b"\0" in _raylet():
        return True
    sources = ["_private/ray_constants.py", "_common/usage/usage_constants.py"]
    return any(f'"{variable}"' in _package_file("ray", s).read_text() for s in sources)
