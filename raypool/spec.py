"""What a caller asks of a business's browser: the ``**spec`` of ``get_or_create_instance``."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from keyword import iskeyword
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from raypool.errors import ErrorCodes, create_error
from raypool.ids import parse_duration
from raypool.redaction import HIDDEN, is_secret_name, redact

CONTEXT_OPTIONS = frozenset({
    "accept_downloads", "base_url", "bypass_csp", "client_certificates", "color_scheme", "contrast",
    "device_scale_factor", "extra_http_headers", "forced_colors", "geolocation", "has_touch",
    "http_credentials", "ignore_https_errors", "is_mobile", "java_script_enabled", "locale",
    "no_viewport", "offline", "permissions", "proxy", "reduced_motion", "screen", "service_workers",
    "strict_selectors", "timezone_id", "user_agent", "viewport",
})  # fmt: skip
"""Names of Playwright's ``Browser.new_context`` that a spec may carry. ``storage_state`` is not one
of them: the checkpoint is where the state comes from."""


SECRET_OPTIONS = frozenset({
    "client_certificates", "extra_http_headers", "http_credentials", "proxy",
})  # fmt: skip
"""Those of them that may hold a password or a key: never stored or shown in plain."""


class Frozen(BaseModel):
    """Data that never changes once made; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Probe(Frozen):
    """How to see that a business is signed in. Whatever is given must hold; nothing given: unknown."""

    url: str | None = None
    """Page to open for the check; being sent elsewhere (a sign-in page) means signed out."""
    selector: str | None = None
    """A Playwright selector that must be visible."""
    text: str | None = None
    """Text that the page must show."""
    cookie: str | None = None
    """Name of a cookie that must be there and not expired."""
    function: str | None = Field(default=None, max_length=256)
    """``package.module:name`` of an ``async def name(page) -> bool`` that the nodes can import. It is
    given a page of its own, where *url* is open if that is given, which is closed after it."""

    @property
    def opens_page(self) -> bool:
        """Whether a look opens a page of its own."""
        return bool(self.url or self.function)

    @field_validator("function")
    @classmethod
    def _names_a_function(cls, value: str | None) -> str | None:
        if value is None:
            return None
        module, colon, name = value.partition(":")
        if not colon or not all(map(_is_name, (*module.split("."), name))):
            raise ValueError("a function is named as 'package.module:name'")
        return value

    @model_validator(mode="after")
    def _needs_something(self) -> Self:
        if not (self.url or self.selector or self.text or self.cookie or self.function):
            raise ValueError("a probe needs at least one of url, selector, text, cookie, function")
        return self


def _is_name(text: str) -> bool:
    return text.isidentifier() and not iskeyword(text)


class SessionSpec(Frozen):
    """Durable wishes of a session. Everything but ``idle_after`` takes effect with a new browser."""

    browser: Literal["headless_shell", "chromium"] = "headless_shell"
    headless: bool = True
    idle_after: float | None = Field(default=None, gt=0)
    """Seconds without a call after which the browser may be closed; None: the fleet's setting."""
    probe: Probe | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must carry to run it (``ray start --labels``), as Ray selects them:
    ``{"zone": "eu"}``, ``{"disk": "!spinning"}``, ``{"zone": "in(eu,us)"}``."""
    context: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of Playwright's ``new_context``, by its own names."""

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact(value) if name == "context" else value

    def merged(self, changes: "SpecChanges") -> Self:
        """Return this spec with *changes* laid over it; context options are merged by name."""
        data = {**self.model_dump(), **changes.fields}
        data["context"] = {**self.context, **changes.context}
        return type(self).model_validate(data)

    def needs_new_browser(self, other: "SessionSpec") -> bool:
        """Tell whether going from this spec to *other* takes a new browser."""
        return self.model_dump(exclude={"idle_after"}) != other.model_dump(exclude={"idle_after"})


class SpecChanges(Frozen):
    """A checked ``**spec``: what the caller gave, and nothing else."""

    fields: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, JsonValue] = Field(default_factory=dict)
    ttl: float | None = None


def parse_spec(spec: Mapping[str, Any]) -> SpecChanges:
    """Check a ``**spec`` and sort it into what concerns the browser, the context and the record.

    Raises:
        ConfigurationError: An unknown name, or a value that does not fit; the message names it.
    """
    known = {*SessionSpec.model_fields, "ttl"} - {"context"}
    unknown = set(spec) - known - CONTEXT_OPTIONS
    if unknown:
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"{', '.join(sorted(unknown))}: not an option of an instance",
            recovery=f"Known options: {', '.join(sorted(known | CONTEXT_OPTIONS))}.",
        )
    fields = {k: spec[k] for k in spec if k in known and k != "ttl"}
    if isinstance(fields.get("idle_after"), timedelta | int | float):
        fields["idle_after"] = parse_duration(fields["idle_after"], name="idle_after")
    ttl = parse_duration(spec["ttl"], name="ttl") if spec.get("ttl") is not None else None
    try:
        changes = SpecChanges(
            fields=fields, context={k: spec[k] for k in spec if k in CONTEXT_OPTIONS}, ttl=ttl
        )
        SessionSpec().merged(changes)
    except ValidationError as error:
        raise _explained(error) from None  # pydantic's text would show secret values
    return changes


def _explained(error: ValidationError) -> Exception:
    first = error.errors(include_url=False)[0]
    names = [str(part) for part in first["loc"]] or ["spec"]
    option = names[0] == "context"  # only Playwright's options carry secrets
    secret = option and any(is_secret_name(name) for name in names)
    value = HIDDEN if secret else repr(redact(first["input"]))
    return create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"{'.'.join(names[option:])}={value} does not fit: "
        f"{first['msg'].removeprefix('Value error, ')}",
    )
