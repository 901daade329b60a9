"""Names: what the package offers, what importing it costs, and how actors are called."""

import subprocess
import sys

import pytest

import raypool
from actors.names import JANITOR, SUPERVISOR, business_actor, business_of, janitor_actor

HEAVY = ("ray", "redis", "playwright", "fastapi", "pydantic")


@pytest.mark.parametrize("name", raypool.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """What the contract lists can be imported, under its own name or as the other name it is."""
    assert getattr(raypool, name) is not None
    assert name in dir(raypool)


def test_the_other_name_of_the_pool_is_the_pool() -> None:
    """BrowserInstanceManager is AsyncPool."""
    assert raypool.BrowserInstanceManager is raypool.AsyncPool


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Pol'"):
        _ = raypool.Pol


def test_importing_raypool_costs_nothing() -> None:
    """No Ray, no Redis, no browser, and in a fresh process, where it counts."""
    program = f"import raypool, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_errors_and_the_pure_core_need_nothing_heavy_either() -> None:
    """A service that only wants errors, settings or the planner does not load Ray or a browser."""
    modules = "raypool.errors, raypool.config, raypool.model, raypool.planner, raypool.retry"
    program = f"import sys, {modules}; print([m for m in {HEAVY[:4]} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("business_id", ["business-123", "a", "supervisor", "a.b_c"])
def test_an_actors_name_leads_back_to_its_business(business_id: str) -> None:
    """The instance key is the actor's name, and no business can take the supervisor's."""
    key = business_actor(business_id)
    assert key == f"business:{business_id}"
    assert business_of(key) == business_id
    assert key != SUPERVISOR


@pytest.mark.parametrize("name", [SUPERVISOR, janitor_actor("node-1"), "business-123", ""])
def test_other_actors_stand_for_no_business(name: str) -> None:
    """They are left alone by whoever looks for businesses."""
    assert business_of(name) is None


def test_a_janitor_is_its_nodes() -> None:
    """One name a node, and nobody else's."""
    assert janitor_actor("node-1") == "janitor:node-1"
    assert janitor_actor("node-1").startswith(JANITOR)
