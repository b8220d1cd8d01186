import tempfile
from pathlib import Path

import pytest

from hostmesh_ctl.demo.holder import closed_ancestor


@pytest.mark.parametrize(
    ("mode", "closed"),
    [
        pytest.param(0o700, True, id="a private home"),
        pytest.param(0o750, True, id="a home for a group"),
        pytest.param(0o755, False, id="an open folder"),
        pytest.param(0o711, False, id="a folder that may be passed through"),
    ],
)
def test_the_closed_folder_above_is_found(mode: int, *, closed: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: its parents are private
        Path(name).chmod(0o755)
        home = Path(name) / "home"
        inside = home / "project/bin"
        inside.mkdir(parents=True)
        home.chmod(mode)
        assert closed_ancestor(inside) == (home if closed else None)


def test_a_closed_folder_itself_is_not_its_ancestor(tmp_path: Path) -> None:
    # The folder that is exposed is bound as it is: only the way to it has to be open.
    tmp_path.chmod(0o700)
    assert closed_ancestor(tmp_path) != tmp_path
