"""What the documents say is what the program does."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_configuration_page_is_made_from_the_settings() -> None:
    """docs/configuration.md is what scripts/config_docs.py prints now."""
    made = runpy.run_path(str(ROOT / "scripts" / "config_docs.py"))["document"]()
    assert (ROOT / "docs" / "configuration.md").read_text() == made


def test_glossary_names_every_phase() -> None:
    """A phase that people may meet in `raypool status` is explained in the glossary."""
    from raypool.phase import Phase

    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert [phase for phase in Phase if phase not in glossary] == []


def test_readme_names_every_make_target() -> None:
    """The make targets that the README or CONTRIBUTING show exist."""
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set()
    for name in ("README.md", "CONTRIBUTING.md"):
        shown |= set(re.findall(r"(?:`|\$ )make (\w+)", (ROOT / name).read_text()))
    assert shown - targets == set()


def test_every_test_that_the_docs_name_exists() -> None:
    """Whoever doubts a row of a table finds the test that shows it, by file and name."""
    missing = []
    for page in (ROOT / "docs").rglob("*.md"):
        for path, name in re.findall(r"`([\w/]*test_\w+\.py)::(test_\w+)", page.read_text()):
            files = [file.read_text() for file in (ROOT / "tests").rglob(Path(path).name)]
            if not any(f"def {name}(" in text for text in files):
                missing.append(f"{page.name}: {path}::{name}")
    assert missing == []
