"""What an operator may rely on in the deploy files at the root of the repository."""

import copy
import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from raypool.config import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.dev.yml")
DEPLOY_FILES = (*COMPOSE_FILES, "cluster.yaml", "redis.conf", "Dockerfile", ".dockerignore")
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
def _text(name: str) -> str:
    return (ROOT / name).read_text()


def _load(name: str) -> Document:
    document = yaml.safe_load(_text(name))
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
        for program in (p for command in commands for p in _programs(command)):
            assert program in programs | SHELL_WORDS, f"{name} has no {program}"


def _programs(command: list[str]) -> Iterator[str]:
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


def _services() -> Document:
    """Return the services of both compose files as Compose merges them."""
    merged: Document = copy.deepcopy(_load(COMPOSE_FILES[0])["services"])
    for name, service in _load(COMPOSE_FILES[1])["services"].items():
        own = merged.setdefault(name, {})
        for key, value in service.items():
            own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def _ray_variables(command: str) -> dict[str, str]:
    return dict(re.findall(r"\b(RAY_\w+)=(\S+?);?(?=\s|$)", command))


def _cluster_commands() -> list[str]:
    cluster = _load("cluster.yaml")
    return [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_files_follow_the_specification(name: str) -> None:
    """Docker Compose accepts every key of both files."""
    check_compose(_load(name))


def test_the_cluster_file_is_one_that_rays_launcher_accepts() -> None:
    """Ray accepts every key of cluster.yaml, and its addresses are nobody's."""
    cluster = _load("cluster.yaml")
    check_cluster(cluster)
    addresses = [cluster["provider"]["head_ip"], *cluster["provider"]["worker_ips"]]
    assert all(address.startswith("192.0.2.") for address in addresses)


def test_dependencies_are_waited_for_until_they_are_healthy() -> None:
    """Whatever another service depends on has a healthcheck, and the other waits for it."""
    services = _services()
    check_dependencies(services)
    assert set(services["raypool"]["depends_on"]) == {"redis", "ray-head"}


def test_nothing_is_published_beyond_loopback() -> None:
    """No port of the fleet can be reached from another machine."""
    services = _services()
    check_loopback(services)
    assert {port for s in services.values() for port in s.get("ports", [])} == {
        "127.0.0.1:6380:6379",
        "127.0.0.1:8265:8265",
        "127.0.0.1:8081:8081",
    }


@pytest.mark.parametrize("name", DEPLOY_FILES)
def test_no_file_carries_a_secret(name: str) -> None:
    """A secret is always asked for, with a sentence, and never has a default."""
    check_secrets(_text(name))


def test_every_command_starts_a_program_of_its_image() -> None:
    """Commands and healthchecks start programs that the image has."""
    services = _services()
    check_commands(services)
    started = {p for s in services.values() for p in _programs(s.get("command", []))}
    assert started == {"valkey-server", "ray", "raypool", "wait"}


@pytest.mark.parametrize("name", [*COMPOSE_FILES, "cluster.yaml"])
def test_variables_are_spelled_as_their_readers_spell_them(name: str) -> None:
    """Each RAYPOOL_, REDIS_ and SESSION_ variable is a setting, each RAY_ variable one of Ray's."""
    code = re.sub(r"(?m)(^|\s)#.*$", "", _text(name))
    used = set(re.findall(r"\b(?:RAY|RAYPOOL|REDIS|SESSION)_\w+", code))
    assert used
    unknown = used - _settings() - set(SECRETS) - OTHERS_VARIABLES
    assert not {v for v in unknown if not (v.startswith("RAY_") and _ray_knows(v))}


def _settings() -> set[str]:
    fields = Settings.model_fields.values()
    return {str(choice) for f in fields for choice in getattr(f.validation_alias, "choices", ())}


@cache
def _raylet() -> bytes:
    return _package_file("ray", "core", "src", "ray", "raylet", "raylet").read_bytes()


def _ray_knows(variable: str) -> bool:
    """Whether Ray's own code names the variable: the raylet as a whole string, or its constants."""
    name = variable.removeprefix("RAY_").encode()
    if b"\0" + name + b"\0" in _raylet() or b"RAY_" + name + b"\0" in _raylet():
        return True
    sources = ["_private/ray_constants.py", "_common/usage/usage_constants.py"]
    return any(f'"{variable}"' in _package_file("ray", s).read_text() for s in sources)


def test_every_node_runs_with_the_same_ray_settings() -> None:
    """Compose and the cluster launcher give head and workers one set of Ray variables."""
    services = _services()
    nodes = [services[n]["environment"] for n in ("ray-head", "ray-worker", "raypool")]
    sets = [{k: v for k, v in node.items() if k.startswith("RAY_")} for node in nodes]
    starts = [command for command in _cluster_commands() if "ray start" in command]
    assert len(starts) == 2
    sets += [
        _ray_variables(c) | {"RAY_AUTH_TOKEN_PATH": sets[0]["RAY_AUTH_TOKEN_PATH"]} for c in starts
    ]
    assert all(variables == sets[0] for variables in sets)
    assert sets[0]["RAY_AUTH_MODE"] == "token"


def test_businesses_land_on_workers_only() -> None:
    """Only workers offer `browser`; the head and the driver's node offer no CPU either."""
    services = _services()
    commands = {n: " ".join(services[n]["command"]) for n in ("ray-head", "ray-worker", "raypool")}
    assert {n for n, c in commands.items() if '--resources={"browser": ' in c} == {"ray-worker"}
    assert {n for n, c in commands.items() if "--num-cpus=0" in c} == {"ray-head", "raypool"}
    offers = [c for c in _cluster_commands() if '--resources=\'{"browser": ' in c]
    assert offers == _load("cluster.yaml")["worker_start_ray_commands"][-1:]


def test_workers_are_given_the_time_that_a_drain_takes() -> None:
    """Docker kills a worker only after Ray's own drain deadline and 30 seconds more."""
    worker = _services()["ray-worker"]
    drain = int(worker["environment"]["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert int(worker["stop_grace_period"].removesuffix("s")) >= drain + 30


def test_the_image_runs_as_nobody_special() -> None:
    """The last user of the image is not root, and it is the one that may read Ray's token."""
    users = re.findall(r"(?m)^USER (\S+)$", _text("Dockerfile"))
    assert users[-1] == "raypool"
    assert "useradd --uid 10001 " in _text("Dockerfile")
    token = _services()["ray-head"]["configs"][0]
    assert (token["uid"], token["mode"]) == ("10001", 0o400)


def test_the_build_context_holds_what_the_image_copies() -> None:
    """Every file that the Dockerfile copies gets past .dockerignore, and nothing else does."""
    lines = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", _text("Dockerfile"))
    copied = {source for line in lines for source in line.split()}
    assert copied == set(re.findall(r"(?m)^!(\S+)$", _text(".dockerignore")))
    assert "\n*\n" in _text(".dockerignore")


def _drop_healthcheck(services: Document) -> None:
    del services["redis"]["healthcheck"]


def _wait_for_start_only(services: Document) -> None:
    services["raypool"]["depends_on"]["redis"]["condition"] = "service_started"


def _publish_to_everyone(services: Document) -> None:
    services["ray-head"]["ports"] = ["8265:8265"]


def _join_the_hosts_network(services: Document) -> None:
    services["ray-head"]["network_mode"] = "host"


def _start_a_missing_program(services: Document) -> None:
    services["redis"]["command"] = ["redis-server", "/etc/valkey/redis.conf"]


def _misspell_in_a_shell_line(services: Document) -> None:
    services["raypool"]["command"] = ["sh", "-c", "ray start --block & raypol up && wait"]


@pytest.mark.parametrize(
    ("check", "plant"),
    [
        (check_dependencies, _drop_healthcheck),
        (check_dependencies, _wait_for_start_only),
        (check_loopback, _publish_to_everyone),
        (check_loopback, _join_the_hosts_network),
        (check_commands, _start_a_missing_program),
        (check_commands, _misspell_in_a_shell_line),
    ],
)
def test_a_fault_in_a_service_is_refused(
    check: Callable[[Document], None], plant: Callable[[Document], None]
) -> None:
    """The checks above see the faults that they are for."""
    services = _services()
    plant(services)
    with pytest.raises(AssertionError):
        check(services)


@pytest.mark.parametrize(
    ("name", "check", "path"),
    [
        ("docker-compose.yml", check_compose, ("services", "redis")),
        ("docker-compose.dev.yml", check_compose, ("services", "redis-commander")),
        ("cluster.yaml", check_cluster, ()),
    ],
)
def test_an_unknown_key_is_refused(
    name: str, check: Callable[[Document], None], path: tuple[str, ...]
) -> None:
    """A misspelled key does not get past the published schemas."""
    document = _load(name)
    place = document
    for key in path:
        place = place[key]
    place["helthcheck"] = {"test": ["CMD", "true"]}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        check(document)


@pytest.mark.parametrize(
    "line",
    [
        "RAY_AUTH_TOKEN: 0123456789abcdef",
        'HTTP_PASSWORD: "${REDIS_COMMANDER_PASSWORD:-raypool}"',
        "REDIS_PASSWORD: ${REDIS_PASSWORD}",
        "REDIS_URL: redis://:hunter2@redis:6379/0",
        "requirepass hunter2",
    ],
)
def test_a_secret_in_a_file_is_refused(line: str) -> None:
    """A literal, a default, a silent empty value and a password in a URL are all seen."""
    with pytest.raises(AssertionError):
        check_secrets(f"environment:\n{line}\n")


@pytest.mark.parametrize("variable", ["RAY_worker_nicenes", "RAY_AUTH", "RAY_MADE_UP"])
def test_a_misspelled_variable_of_rays_is_seen(variable: str) -> None:
    """Ray ignores what it does not know, so this suite may not."""
    assert not _ray_knows(variable)
