"""The folders of one instance: owners and modes as DESIGN 1 has them. What a package would make."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder as it has to be."""

    path: str
    mode: int
    uid: int
    gid: int


def wanted(layout: HostLayout, *, agent: User, envoy: User) -> list[Folder]:
    """List the folders of an instance, outer ones first.

    Setgid, where one user's socket has to be the other's to open: in a plain 0750 folder the socket
    would get its maker's group.
    """
    root = os.geteuid()
    group = os.getegid()
    return [
        Folder(os.path.dirname(layout.state_dir), 0o755, root, group),  # noqa: PTH120
        Folder(layout.state_dir, 0o755, root, group),
        Folder(layout.identity_dir, 0o700, agent.uid, agent.gid),
        Folder(layout.xds_dir, 0o700, agent.uid, agent.gid),
        Folder(os.path.dirname(layout.run_dir), 0o755, root, group),  # noqa: PTH120
        Folder(layout.run_dir, 0o755, root, group),
        Folder(layout.envoy_dir, 0o2750, agent.uid, envoy.gid),
        Folder(layout.admin_dir, 0o2750, envoy.uid, agent.gid),
        Folder(layout.hot_restart_dir, 0o700, envoy.uid, envoy.gid),
        Folder(layout.capture_dir, 0o755, agent.uid, agent.gid),
        Folder(layout.redirector_dir, 0o755, root, group),
        Folder(layout.control_dir, 0o750, agent.uid, agent.gid),
        Folder(parent_dir(layout), 0o700, root, group),
    ]


def parent_dir(layout: HostLayout) -> str:
    """Name the parent's own folder: which process is which."""
    return f"{layout.run_dir}/parent"


def make(folders: Iterable[Folder]) -> None:
    """Make what is missing and put right what differs. Raises BadInput.

    Outer folders that others made with wider permissions are left alone.
    """
    for folder in folders:
        try:
            _make(folder)
        except OSError as error:
            raise BadInput(
                f"cannot make {folder.path}: {error.strerror}; run as root, or let root make it "
                f"once: install -d -o {folder.uid} {folder.path}"
            ) from error


def _make(folder: Folder) -> None:
    try:
        os.mkdir(folder.path, 0o700)  # noqa: PTH102
    except FileExistsError:
        about = os.lstat(folder.path)
        if not stat.S_ISDIR(about.st_mode):
            raise BadInput(f"cannot use {folder.path}: it is not a folder; remove it") from None
        if _serves(folder, about):
            return
    os.chown(folder.path, folder.uid, folder.gid, follow_symlinks=False)
    os.chmod(folder.path, folder.mode)  # noqa: PTH101


def _serves(folder: Folder, about: os.stat_result) -> bool:
    """Whether an existing folder will do; the outer ones of an ordinary user may be root's."""
    mode = stat.S_IMODE(about.st_mode)
    if mode == folder.mode and (about.st_uid, about.st_gid) == (folder.uid, folder.gid):
        return True
    return about.st_uid == 0 and os.geteuid() != 0 and mode & 0o005 == 0o005
