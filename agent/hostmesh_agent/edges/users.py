"""Who the agent's processes are: names or numbers to ids, and becoming one of them for good."""

import ctypes
import os
import pwd
from dataclasses import dataclass

from hostmesh_core.errors import BadInput

PR_SET_NO_NEW_PRIVS = 38
MOST_ID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class User:
    """A user with its own group, as numbers."""

    uid: int
    gid: int


def find(text: str, *, option: str) -> User:
    """Give the ids of a user name, of a number, or of `uid:gid`.

    A number without an account gets the group of the same number, so that a lab needs no accounts.
    Raises BadInput that names the option and how to make the account.
    """
    uid, _, gid = text.partition(":")
    if uid.isdecimal():
        if max(int(uid), int(gid) if gid.isdecimal() else 0) > MOST_ID:
            raise BadInput(f"cannot use {option} {text}: the highest id is {MOST_ID}")
        return User(int(uid), int(gid) if gid.isdecimal() else _group_of(int(uid)))
    try:
        entry = pwd.getpwnam(text)
    except KeyError as error:
        raise BadInput(
            f"cannot find user {text}: make it with `useradd --system --user-group {text}`, or "
            f"name another with {option} (a number will do)"
        ) from error
    return User(entry.pw_uid, entry.pw_gid)


def check_apart(agent: User, envoy: User) -> None:
    """Raise BadInput where a hole in one of the two would be a hole in the other, or in root."""
    if 0 in (agent.uid, envoy.uid):
        raise BadInput("cannot run as root throughout: --agent-user and --envoy-user are not root")
    if agent.uid == envoy.uid:
        raise BadInput(
            f"cannot run agent and Envoy both as uid {agent.uid}: Envoy would read the agent's "
            "keys; give --agent-user and --envoy-user two users"
        )


def ordinary() -> User | None:
    """Give who this process is, None as root: an ordinary user can become nobody else."""
    return User(os.geteuid(), os.getegid()) if os.geteuid() != 0 else None


def _group_of(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def become(user: User) -> None:
    """Drop to `user` for good: no groups but its own, and no way back by a setuid program.

    Does nothing where the process is that user already. Raises BadInput where it may not.
    """
    if os.geteuid() == user.uid:
        return
    if os.geteuid() != 0:
        raise BadInput(f"cannot become uid {user.uid}: only root can; run this as root")
    os.setgroups([])
    os.setgid(user.gid)
    os.setuid(user.uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise BadInput(f"cannot give up new privileges: errno {ctypes.get_errno()}")
