import re
from pathlib import Path

import pytest

from hostmesh_testing import reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_the_reference_says_what_the_code_does(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.pages()[name], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = [
        target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_first_real_use_names_every_program() -> None:
    text = (ROOT / "README.md").read_text()
    for program in ("hostmesh-controlplane run", "hostmesh-agent join", "hostmesh token create"):
        assert program in text
