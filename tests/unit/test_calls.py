"""A script's function reaches an actor that has never seen it, and its outcome comes back."""

import asyncio
import functools
import importlib.util
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from raypool.calls import pack_call, pack_error, pack_value, unpack_call, unpack_reply
from raypool.errors import (
    ConfigurationError,
    ErrorCodes,
    FunctionFailed,
    RaypoolError,
    create_error,
)

CANARY = "cAnary7x-Key"
ROOT = Path(__file__).resolve().parents[2]

SCRIPT = '''
    """A user's script: a class, an error and a helper of its own."""

    class Mood:
        def __init__(self, word):
            self.word = word

    class TooLong(Exception):
        """Raised by post."""

    def shout(text):
        return text.upper() + "!"

    async def post(page, text, *, limit=100):
        if len(text) > limit:
            raise TooLong(text)
        return Mood(f"{page}: {shout(text)}")
'''
ACTOR = """
    import asyncio, sys
    from raypool.calls import pack_error, pack_value, unpack_call
    assert "users_script" not in sys.modules
    fn, args, kwargs = unpack_call(sys.stdin.buffer.read())
    try:
        reply = pack_value(asyncio.run(fn("page", *args, **kwargs)))
    except Exception as error:
        reply = pack_error(error, fn.__name__)
    assert "users_script" not in sys.modules
    sys.stdout.buffer.write(reply)
"""


def _reply_of_an_actor(call: bytes) -> bytes:
    """Run a packed call in a fresh process that cannot import the script."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ACTOR)],
        input=call,
        capture_output=True,
        check=True,
        cwd=ROOT,
    ).stdout


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module that exists only here: its folder is not on the path."""
    file = tmp_path / "users_script.py"
    file.write_text(textwrap.dedent(SCRIPT))
    spec = importlib.util.spec_from_file_location("users_script", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "users_script", module)
    spec.loader.exec_module(module)
    return module


def test_a_function_travels_by_value(script: ModuleType) -> None:
    """With its helpers, defaults and classes; the result is of the caller's own class."""
    value = unpack_reply(_reply_of_an_actor(pack_call(script.post, ("hello",), {})))
    assert isinstance(value, script.Mood)
    assert value.word == "page: HELLO!"


def test_an_error_of_the_users_own_class_comes_back(script: ModuleType) -> None:
    """The caller catches FunctionFailed and finds its own exception as the cause."""
    reply = _reply_of_an_actor(pack_call(script.post, ("hello",), {"limit": 1}))
    with pytest.raises(FunctionFailed, match=r"^post raised TooLong: hello$") as caught:
        unpack_reply(reply)
    assert isinstance(caught.value.__cause__, script.TooLong)
    assert caught.value.__cause__.args == ("hello",)
    assert "in post" in caught.value.context["traceback"]


def test_packing_leaves_no_trace(script: ModuleType) -> None:
    """After the call the script's module is pickled as before."""
    pack_call(script.post, (), {})
    assert b"users_script" in pickle.dumps(script.post)
    from ray import cloudpickle

    registry = cloudpickle.list_registry_pickle_by_value()  # type: ignore[no-untyped-call]
    assert "users_script" not in registry


def _run(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """Send a call there and back again within this process."""
    there, its_args, its_kwargs = unpack_call(pack_call(fn, args, kwargs))
    return unpack_reply(pack_value(asyncio.run(there(*its_args, **its_kwargs))))


class Greeter:
    """A callable object with something to carry."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def __call__(self, name: str) -> str:
        return f"{self.word} {name}"

    async def method(self, name: str) -> str:
        return f"{self.word}, {name}"


def test_closures_partials_objects_and_methods_travel() -> None:
    """Whatever is async and can be called."""
    word = "hello"

    async def greet(name: str, mark: str = ".") -> str:
        return f"{word} {name}{mark}"

    assert _run(greet, "you") == "hello you."
    assert _run(functools.partial(greet, mark="!"), "you") == "hello you!"
    assert _run(functools.partial(functools.partial(greet, "we"), mark="?")) == "hello we?"
    assert _run(Greeter("hi"), "you") == "hi you"
    assert _run(Greeter("hi").method, name="you") == "hi, you"


def _plain(page: Any) -> None:
    """Not async."""


async def _generator(page: Any) -> Any:
    yield page


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (_plain, "_plain"),
        (functools.partial(_plain, 1), "_plain"),
        (_generator, "_generator"),
        (lambda page: page, "<lambda>"),
        (str, "str"),
        ("text", "str"),
    ],
)
def test_what_is_not_async_is_refused(fn: Any, name: str) -> None:
    """Before anything is sent, with the form that fits."""
    with pytest.raises(ConfigurationError) as caught:
        pack_call(fn, (), {})
    assert caught.value.code is ErrorCodes.CONFIG_INVALID_FUNCTION
    assert caught.value.message.startswith(
        f"{name} is not an async function: it must be `async def"
    )


async def _take(*_: Any) -> None:
    """Take anything."""


def test_arguments_that_cannot_be_sent_are_refused() -> None:
    """Here, with the library's reason, not in some actor later."""
    lock = threading.Lock()

    async def with_lock(page: Any) -> None:
        lock.acquire()

    for fn, args in ((_take, (lock,)), (with_lock, ())):
        with pytest.raises(ConfigurationError, match=r"cannot be pickled: .*lock") as caught:
            pack_call(fn, args, {})
        assert caught.value.code is ErrorCodes.CONFIG_INVALID_FUNCTION
        assert isinstance(caught.value.__cause__, TypeError)


class _Gone:
    """Pickles, but cannot be loaded where it arrives."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return importlib.import_module, ("no_such_module_anywhere",)


def test_what_is_not_installed_there_is_named() -> None:
    """The actor says which module it lacks, and what to do."""
    with pytest.raises(ConfigurationError, match="no_such_module_anywhere") as caught:
        unpack_call(pack_call(_take, (_Gone(),), {}))
    assert caught.value.code is ErrorCodes.CONFIG_INVALID_FUNCTION
    assert "Install" in caught.value.recovery


def test_a_result_that_cannot_be_sent_is_an_error_with_its_own_code() -> None:
    """Its type is named: usually it is a page or a handle."""
    with pytest.raises(ConfigurationError, match=r"the result, a lock, cannot be sent") as caught:
        pack_value(threading.Lock())
    assert caught.value.code is ErrorCodes.CONFIG_RESULT_NOT_PICKLABLE


class _NeedsTwoError(Exception):
    """Pickles, but its pickle calls ``__init__`` with one argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


class _HoldsALockError(Exception):
    """Does not pickle at all."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def _raised(error: BaseException) -> RaypoolError:
    with pytest.raises(RaypoolError) as caught:
        unpack_reply(pack_error(error, "post"))
    return caught.value


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyError("k"), OSError(2, "gone"), asyncio.CancelledError("stop")]
)
def test_what_the_function_raised_is_the_cause(error: BaseException) -> None:
    """Same type, same arguments; not retryable, since nobody knows what it had done."""
    failed = _raised(error)
    assert isinstance(failed, FunctionFailed)
    assert (type(failed.__cause__), failed.__cause__.args) == (type(error), error.args)  # type: ignore[union-attr]
    assert failed.context["cause"] == repr(error)
    assert not failed.retryable


@pytest.mark.parametrize("error", [_NeedsTwoError("a", "b"), _HoldsALockError()])
def test_an_error_that_cannot_travel_is_told_in_words(error: Exception) -> None:
    """The caller still gets FunctionFailed, with type and message of the original."""
    failed = _raised(error)
    assert isinstance(failed, FunctionFailed)
    assert failed.__cause__ is None
    assert failed.message == f"post raised {type(error).__name__}: {error}"


def test_an_error_without_words_is_still_told() -> None:
    """An empty message is said to be empty."""
    assert _raised(AssertionError()).message == "post raised AssertionError: no message"


@pytest.mark.parametrize("code", [ErrorCodes.AUTH_NEEDS_HUMAN, ErrorCodes.SESSION_LOCKED])
def test_errors_of_raypool_pass_through(code: ErrorCodes) -> None:
    """Not wrapped: what a function raises in raypool's own words is what its caller catches."""
    error = create_error(code, "as it is", {"business_id": "b"}, retry_after=3)
    back = _raised(error)
    assert (type(back), vars(back), back.__cause__) == (type(error), vars(error), None)


@pytest.mark.parametrize("length", [0, 240, 270, 290, 299, 400])
def test_no_secret_gets_out_where_a_long_message_is_cut(length: int) -> None:
    """A message may hold a call log or an address; half a credential is hidden as well."""
    for secret in (f"redis://u:{CANARY}@h", f'fill("{CANARY}")', f"password={CANARY}"):
        failed = _raised(RuntimeError(f"{'x ' * (length // 2)}{secret} and more"))
        assert CANARY[:4] not in f"{failed} {failed.to_dict()}"


def test_modules_beside_the_script_can_be_imported_where_the_disk_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's own folders are searched there, after the actor's; missing ones are not."""
    folder, gone = tmp_path / "beside", tmp_path / "gone"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), str(gone), *sys.path])
    call = pack_call(_take, (), {})
    before = [path for path in sys.path if path not in {str(folder), str(gone)}]
    monkeypatch.setattr(sys, "path", list(before))
    unpack_call(call)
    assert sys.path == [*before, str(folder)]
