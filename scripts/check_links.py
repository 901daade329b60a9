"""Fail when a relative link in a Markdown file of the repository leads nowhere."""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


def anchors(file: Path) -> set[str]:
    """Return the anchors that a Markdown viewer makes of the headings of *file*."""
    titles = HEADING.findall(file.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def dead_links(file: Path) -> list[str]:
    """Return the links of *file* that lead nowhere."""
    dead = []
    for path, anchor in LINK.findall(file.read_text()):
        target = (file.parent / path) if path else file
        if not target.exists():
            dead.append(f"{file}: {path} does not exist")
        elif anchor and target.suffix == ".md" and anchor[1:] not in anchors(target):
            dead.append(f"{file}: {path}{anchor} has no such heading")
    return dead


def main() -> int:
    """Check every tracked Markdown file; print what is dead."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],  # noqa: S607
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    dead = [line for name in listed.stdout.split() for line in dead_links(Path(name))]
    print("\n".join(dead) or "no dead links")
    return bool(dead)


if __name__ == "__main__":
    sys.exit(main())
