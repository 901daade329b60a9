"""Errors keep what they say on their way between processes, and every code helps somebody."""

import copy
import json
import pickle
from collections.abc import Iterator

import pytest

from raypool import context, errors
from raypool.errors import CODES, ErrorCategory, ErrorCodes, RaypoolError, create_error


def _tree(root: type[RaypoolError] = RaypoolError) -> Iterator[type[RaypoolError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


CLASSES = sorted(set(_tree()), key=lambda cls: cls.__name__)


def _content(error: RaypoolError) -> tuple[object, ...]:
    return (type(error), error.args, vars(error), str(error), repr(error), error.to_dict())


def _filled(code: ErrorCodes) -> RaypoolError:
    details = {"business_id": "b-1", "holder": {"pid": 7}, "tried": ["a", 2, None]}
    return create_error(code, "it broke", details, retry_after=2.5, recovery="mend it")


@pytest.mark.parametrize("code", ErrorCodes)
def test_every_code_survives_pickling(code: ErrorCodes) -> None:
    """Class, code, message, context, retry_after and recovery come back as they went."""
    error = _filled(code)
    back = pickle.loads(pickle.dumps(error))
    assert _content(back) == _content(error)
    assert (back.code, back.message, back.retry_after, back.recovery) == (
        code, "it broke", 2.5, "mend it",
    )  # fmt: skip
    assert back.context["holder"] == {"pid": 7}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_survives_pickling_and_copying(cls: type[RaypoolError]) -> None:
    """A class raised by itself, with its default code, comes back equal, by pickle and by copy."""
    error = cls("why", context={"business_id": "b-1"}, retry_after=1.0)
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert _content(back) == _content(error)
    assert error.code is cls.default_code


@pytest.mark.parametrize("code", ErrorCodes)
def test_every_code_tells_people_what_happened_and_what_to_do(code: ErrorCodes) -> None:
    """Each code has a sentence, a way out, and the category that its name begins with."""
    info = CODES[code]
    assert info.user_message.endswith(".")
    assert len(info.recovery) > 10
    assert code.startswith({"authentication": "AUTH", "configuration": "CONFIG"}.get(
        info.category, info.category.upper()
    ))  # fmt: skip


@pytest.mark.parametrize("code", ErrorCodes)
def test_the_class_of_an_error_fits_its_code(code: ErrorCodes) -> None:
    """Whoever catches the class of a category catches every code of that category."""
    caught_by = {
        ErrorCategory.AUTHENTICATION: errors.AuthenticationError,
        ErrorCategory.SESSION: errors.SessionError,
        ErrorCategory.BROWSER: errors.BrowserError,
        ErrorCategory.NETWORK: errors.NetworkError,
        ErrorCategory.STORAGE: errors.StorageError,
        ErrorCategory.RATE_LIMIT: errors.RateLimitError,
        ErrorCategory.CONFIGURATION: errors.ConfigurationError,
        ErrorCategory.INTERNAL: errors.InternalError,
    }
    error = create_error(code)
    assert isinstance(error, caught_by[error.category])


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_never_contradicts_its_default_code(cls: type[RaypoolError]) -> None:
    """The default code of a class makes that class or one of its family."""
    made = type(create_error(cls.default_code))
    assert issubclass(cls, made) or issubclass(made, cls)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_page_names_every_class(cls: type[RaypoolError]) -> None:
    """The tree at the top of errors.py is complete."""
    assert f" {cls.__name__} " in (errors.__doc__ or "").replace("\n", " ")


def test_ids_in_context_reach_the_error() -> None:
    """What is bound where the error is made is in it; what it is given wins; nothing leaks out."""
    with context.bound(trace_id="t-1", business_id="b-1", node_id=None):
        error = create_error(ErrorCodes.INTERNAL_ERROR, "x", {"business_id": "b-2"})
        with context.bound(pid=3):
            assert create_error(ErrorCodes.INTERNAL_ERROR).context["pid"] == 3
        assert "pid" not in create_error(ErrorCodes.INTERNAL_ERROR).context
    assert error.context == {"trace_id": "t-1", "business_id": "b-2"}
    assert error.trace_id == "t-1"
    assert create_error(ErrorCodes.INTERNAL_ERROR).context == {}
    assert create_error(ErrorCodes.INTERNAL_ERROR).trace_id is None


def test_an_unknown_code_is_refused() -> None:
    """A slip in a code is a mistake of the programmer, found at once."""
    with pytest.raises(ValueError, match="NO_SUCH_CODE"):
        create_error("NO_SUCH_CODE", "x")


def test_a_code_may_be_given_by_name() -> None:
    """Services that know codes as text get the same error."""
    error = create_error("AUTH_INVALID_CREDENTIALS", "Invalid e-mail or password")
    assert isinstance(error, errors.AuthenticationError)
    assert error.code is ErrorCodes.AUTH_INVALID_CREDENTIALS
    assert not error.retryable


def test_without_a_message_the_code_speaks() -> None:
    """An error is never empty."""
    assert str(create_error(ErrorCodes.STORAGE_FULL)) == CODES[ErrorCodes.STORAGE_FULL].user_message


@pytest.mark.parametrize("code", ErrorCodes)
def test_an_error_is_json_for_other_programs(code: ErrorCodes) -> None:
    """What the CLI and HTTP show survives JSON and carries every field of the contract."""
    shown = json.loads(json.dumps(_filled(code).to_dict()))
    assert shown.pop("context")["business_id"] == "b-1"
    assert shown == {
        "code": code.value,
        "category": CODES[code].category.value,
        "message": "it broke",
        "user_message": CODES[code].user_message,
        "recovery": "mend it",
        "retryable": CODES[code].retryable,
        "retry_after": 2.5,
    }
