"""Ends a child with its parent, however that ends (prctl(2), PR_SET_PDEATHSIG)."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
# Found before any fork: a child of a threaded process must not load libraries.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Called in the child: the kernel kills it when `parent` ends.

    After a change of user, not before: that makes the kernel forget it.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os._exit(1)
