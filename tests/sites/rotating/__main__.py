"""Start the site: open its book, say on one line where it listens, serve until killed."""

import argparse
import json
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.sites.process import die_with
from tests.sites.rotating.book import Book
from tests.sites.rotating.pages import Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that are killed: that is what this site is for."""


def main() -> None:
    """Serve on loopback; the one line on standard output comes when connections are accepted."""
    parser = argparse.ArgumentParser(prog="python -m tests.sites.rotating")
    parser.add_argument("--directory", type=Path, required=True, help="holds the book")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--users", type=int, default=3, help="how many users there are at least")
    parser.add_argument("--ping-ms", type=int, default=100, help="how often a page pings")
    parser.add_argument("--parent-pid", type=int, help="die when this process, the parent, dies")
    arguments = parser.parse_args()
    if arguments.parent_pid is not None:
        die_with(arguments.parent_pid)
    book = Book(arguments.directory / "book.sqlite")
    accounts = book.ensure_accounts(arguments.users)
    handler = type("OurHandler", (Handler,), {"book": book, "ping_ms": arguments.ping_ms})
    server = _Server((arguments.host, arguments.port), handler)
    url = f"http://{arguments.host}:{server.server_port}"
    sys.stdout.write(json.dumps({"url": url, "users": accounts}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
