"""Start the site: prepare its directory, say on one line where it listens, serve until killed."""

import argparse
import json
import os
import sys
from pathlib import Path

from tests.sites.process import die_with


def main() -> None:
    """Serve on loopback; the one line on standard output comes when connections are accepted."""
    arguments = _parse_arguments()
    if arguments.parent_pid is not None:
        die_with(arguments.parent_pid)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    os.environ["ALLAUTH_SITE_DIRECTORY"] = str(arguments.directory)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.sites.allauth_site.settings"
    accounts = _prepare(arguments.users)
    _serve(arguments.port, accounts)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sites.allauth_site")
    parser.add_argument("--directory", type=Path, required=True, help="holds the database")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--users", type=int, default=3, help="how many users there are at least")
    parser.add_argument("--parent-pid", type=int, help="die when this process, the parent, dies")
    return parser.parse_args()


def _prepare(users: int) -> list[dict[str, str]]:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=True)
    call_command("createcachetable", verbosity=0)

    from tests.sites.allauth_site.accounts import ensure_accounts

    return ensure_accounts(users)


def _serve(port: int, accounts: list[dict[str, str]]) -> None:
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    # Ten, Django's own choice, makes a fleet that connects at once wait for its second attempt.
    ThreadedWSGIServer.request_queue_size = 128
    server = ThreadedWSGIServer(("127.0.0.1", port), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    url = f"http://127.0.0.1:{server.server_port}"
    sys.stdout.write(json.dumps({"url": url, "users": accounts}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
