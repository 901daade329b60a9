"""Actor names and the ids that they stand for. A name finds an actor; it is never a lock."""

SUPERVISOR = "supervisor"
JANITOR = "janitor:"
_BUSINESS = "business:"


def business_actor(business_id: str) -> str:
    """Return the name of a business's actor, which is also its instance key."""
    return f"{_BUSINESS}{business_id}"


def business_of(name: str) -> str | None:
    """Return the business that an actor name or instance key stands for, None if it is another's."""
    return name.removeprefix(_BUSINESS) if name.startswith(_BUSINESS) else None


def janitor_actor(node_id: str) -> str:
    """Return the name of a node's janitor."""
    return f"{JANITOR}{node_id}"
