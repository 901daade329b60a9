"""What an operator may rely on in the deploy files at the root of the repository."""

import re
from collections.abc import Callable

import jsonschema
import pytest

from raypool import rays
from tests.unit.deploy_checks import (
    COMPOSE_FILES,
    DEPLOY_FILES,
    OTHERS_VARIABLES,
    RAY_ENVIRONMENT,
    SECRETS,
    Document,
    check_cluster,
    check_commands,
    check_compose,
    check_dependencies,
    check_loopback,
    check_secrets,
    cluster_commands,
    load,
    programs_of,
    ray_environment,
    ray_flags,
    ray_knows,
    ray_variables,
    services_of_both,
    settings,
    text,
)

NO_DRAIN = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # no browser there to move away


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_files_follow_the_specification(name: str) -> None:
    """Docker Compose accepts every key of both files."""
    check_compose(load(name))


def test_the_cluster_file_is_one_that_rays_launcher_accepts() -> None:
    """Ray accepts every key of cluster.yaml, and its addresses are nobody's."""
    cluster = load("cluster.yaml")
    check_cluster(cluster)
    addresses = [cluster["provider"]["head_ip"], *cluster["provider"]["worker_ips"]]
    assert all(address.startswith("192.0.2.") for address in addresses)


def test_dependencies_are_waited_for_until_they_are_healthy() -> None:
    """Whatever another service depends on has a healthcheck, and the other waits for it."""
    services = services_of_both()
    check_dependencies(services)
    assert set(services["raypool"]["depends_on"]) == {"redis", "ray-head"}


def test_nothing_is_published_beyond_loopback() -> None:
    """No port of the fleet can be reached from another machine."""
    services = services_of_both()
    check_loopback(services)
    assert {port for s in services.values() for port in s.get("ports", [])} == {
        "127.0.0.1:6380:6379",
        "127.0.0.1:8265:8265",
        "127.0.0.1:8081:8081",
    }


@pytest.mark.parametrize("name", DEPLOY_FILES)
def test_no_file_carries_a_secret(name: str) -> None:
    """A secret is always asked for, with a sentence, and never has a default."""
    check_secrets(text(name))


def test_every_command_starts_a_program_of_its_image() -> None:
    """Commands and healthchecks start programs that the image has."""
    services = services_of_both()
    check_commands(services)
    started = {p for s in services.values() for p in programs_of(s.get("command", []))}
    assert started == {"valkey-server", "ray", "raypool", "wait"}


@pytest.mark.parametrize("name", [*COMPOSE_FILES, "cluster.yaml", RAY_ENVIRONMENT])
def test_variables_are_spelled_as_their_readers_spell_them(name: str) -> None:
    """Each RAYPOOL_, REDIS_ and SESSION_ variable is a setting, each RAY_ variable one of Ray's."""
    code = re.sub(r"(?m)(^|\s)#.*$", "", text(name))
    used = set(re.findall(r"\b(?:RAY|RAYPOOL|REDIS|SESSION)_\w+", code))
    assert used
    unknown = used - settings() - set(SECRETS) - OTHERS_VARIABLES
    assert not {v for v in unknown if not (v.startswith("RAY_") and ray_knows(v))}


def test_every_node_runs_with_the_same_ray_settings() -> None:
    """Compose and the cluster launcher take Ray's variables from ray.env and set no others."""
    services = services_of_both()
    own = {"ray-worker": {}, "ray-head": NO_DRAIN, "raypool": NO_DRAIN}
    for name, variables in own.items():
        assert services[name]["env_file"] == [RAY_ENVIRONMENT]
        environment = services[name]["environment"].items()
        assert {k: v for k, v in environment if k.startswith("RAY_")} == {
            "RAY_AUTH_TOKEN_PATH": "/etc/raypool/ray_token", **variables
        }  # fmt: skip
    commands = [command for command in cluster_commands() if "ray stop" not in command]
    assert len(commands) == 3
    for command in commands:
        assert command.startswith(f"set -a; . ~/raypool-src/{RAY_ENVIRONMENT}; . ~/raypool.env;")
        assert ray_variables(command) == {}


def test_nodes_of_one_role_start_alike() -> None:
    """What both deployments say to a head, and to a worker, is the same."""
    services = services_of_both()
    head, worker = (c for c in cluster_commands() if "ray start" in c)
    for service, command in (("ray-head", head), ("ray-worker", worker)):
        ours, theirs = ray_flags(" ".join(services[service]["command"])), ray_flags(command)
        both = (ours.keys() & theirs.keys()) - {"--address", "--dashboard-host", "--resources"}
        assert {f: ours[f] for f in both} == {f: theirs[f] for f in both}
        assert "--object-store-memory" in both


def test_a_local_fleet_runs_with_the_same_settings() -> None:
    """It leaves out only what is said of the nodes of a cluster, and nothing that does not exist."""
    left_out = set(ray_environment()) - set(rays.local_environment())
    assert left_out == rays._FOR_CLUSTERS
    assert rays.local_environment().items() <= ray_environment().items()


def test_every_ray_variable_is_explained() -> None:
    """docs/ray.md has a row for each line of ray.env, with its value."""
    rows = dict(re.findall(r"(?m)^\| `(RAY_\w+)` \| `([\w.]+)` \| .{20,} \|$", text("docs/ray.md")))
    assert ray_environment().items() <= rows.items()


def test_a_node_ends_the_whole_family_and_one_worker_at_a_time() -> None:
    """The settings that a fleet of browsers cannot do without."""
    assert ray_environment().items() >= {
        "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0",
        "RAY_process_group_cleanup_enabled": "true",
        "RAY_worker_killing_policy_by_group": "true", "RAY_memory_monitor_refresh_ms": "1000",
    }.items()  # fmt: skip


def test_businesses_land_on_workers_only() -> None:
    """Only workers offer `browser`; the head and the driver's node offer no CPU either."""
    services = services_of_both()
    commands = {n: " ".join(services[n]["command"]) for n in ("ray-head", "ray-worker", "raypool")}
    assert {n for n, c in commands.items() if '--resources={"browser": ' in c} == {"ray-worker"}
    assert {n for n, c in commands.items() if "--num-cpus=0" in c} == {"ray-head", "raypool"}
    offers = [c for c in cluster_commands() if '--resources=\'{"browser": ' in c]
    assert offers == load("cluster.yaml")["worker_start_ray_commands"][-1:]


def test_workers_are_given_the_time_that_a_drain_takes() -> None:
    """Docker kills a worker only after Ray's own drain deadline and 30 seconds more."""
    worker = services_of_both()["ray-worker"]
    drain = int(ray_environment()["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert int(worker["stop_grace_period"].removesuffix("s")) >= drain + 30


def test_the_image_runs_as_nobody_special() -> None:
    """The last user of the image is not root, and it is the one that may read Ray's token."""
    users = re.findall(r"(?m)^USER (\S+)$", text("Dockerfile"))
    assert users[-1] == "raypool"
    assert "useradd --uid 10001 " in text("Dockerfile")
    token = services_of_both()["ray-head"]["configs"][0]
    assert (token["uid"], token["mode"]) == ("10001", 0o400)


def test_the_build_context_holds_what_the_image_copies() -> None:
    """Every file that the Dockerfile copies gets past .dockerignore, and nothing else does."""
    lines = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", text("Dockerfile"))
    copied = {source for line in lines for source in line.split()}
    assert copied == set(re.findall(r"(?m)^!(\S+)$", text(".dockerignore")))
    assert "\n*\n" in text(".dockerignore")


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
    services = services_of_both()
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
    document = load(name)
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
    assert not ray_knows(variable)
