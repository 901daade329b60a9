"""A small site with a sign-in, on the loopback interface: the demo needs nobody's account.

It counts completed sign-ins, so that a business that is still signed in after a crash can prove that
it did not sign in again.
"""

import hmac
import html
import secrets
import threading
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs

MAX_BODY = 10_000
_PAGE = "<!doctype html><title>{title}</title><main>{body}</main>"
_FORM = """<h1>Sign in</h1><form method="post" action="/sign-in">
<label>E-mail <input name="email" type="email"></label>
<label>Password <input name="password" type="password"></label>
<button>Sign in</button></form>"""
_POSTS = """<h1 id="who">{email}</h1><p>Posts: <output id="posts">{posts}</output></p>
<form method="post" action="/posts"><label>Text <input name="text"></label>
<button>Publish</button></form>"""


class DemoSite:
    """A site that runs for the ``with`` block."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}
        self.posts: dict[str, list[str]] = {}
        self.sign_ins = 0
        self._sessions: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where the site is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | TracebackType | BaseException | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_account(self, email: str) -> str:
        """Return the password of a new account."""
        self.passwords[email] = secrets.token_urlsafe(12)
        return self.passwords[email]

    def sign_in(self, email: str, password: str) -> str | None:
        """Return a new session for the right password."""
        known = self.passwords.get(email, "")
        if not known or not hmac.compare_digest(known.encode(), password.encode()):
            return None
        with self._lock:
            self.sign_ins += 1
            session = secrets.token_urlsafe(24)
            self._sessions[session] = email
        return session

    def email_of(self, session: str | None) -> str | None:
        """Return who a session belongs to."""
        return self._sessions.get(session or "")

    def publish(self, email: str, text: str) -> None:
        """Keep a post."""
        with self._lock:
            self.posts.setdefault(email, []).append(text[:200])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"site": self})


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[Any]

    def do_GET(self) -> None:
        email = self.site.email_of(self._cookie())
        if email is None:
            self._show("Sign in", _FORM)
            return
        posts = len(self.site.posts.get(email, []))
        self._show("Posts", _POSTS.format(email=html.escape(email), posts=posts))

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", 0)), MAX_BODY)
        form = {k: v[0] for k, v in parse_qs(self.rfile.read(length).decode()).items()}
        if self.path == "/sign-in":
            session = self.site.sign_in(form.get("email", ""), form.get("password", ""))
            self._go("/posts" if session else "/", session)
        elif email := self.site.email_of(self._cookie()):
            self.site.publish(email, form.get("text", ""))
            self._go("/posts", None)
        else:
            self._go("/", None)

    def _cookie(self) -> str | None:
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        return morsel.value if morsel else None

    def _show(self, title: str, body: str) -> None:
        page = _PAGE.format(title=title, body=body).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def _go(self, where: str, session: str | None) -> None:
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        if session:  # a session cookie: it dies with the browser that does not save it
            self.send_header("Set-Cookie", f"session={session}; HttpOnly; SameSite=Lax; Path=/")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the demo has the terminal."""
