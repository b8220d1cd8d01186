"""Takes away what Envoy and its runner leave in shared memory once both have ended."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from hostmesh_agent.edges import untrusted_file

FOLDER = "/dev/shm"  # noqa: S108  the kernel's, where Envoy itself puts it


def remove(state_file: str, *, folder: str = FOLDER) -> None:
    """Remove the runner's lock and Envoy's memory, unless somebody has them now.

    `state_file` holds the number (`runner.base_id`). Raises nothing: it goes with a reboot too.
    """
    with suppress(OSError, ValueError):
        number = int(untrusted_file.read(state_file, 16))
        lock = Path(folder) / f"hostmesh_base_id_{number}"
        memory = Path(folder) / f"envoy_shared_memory_{number * 10}"
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Envoy's user wrote the number: it names that user's own files, or none.
            owner = Path(state_file).parent.lstat().st_uid
            for path in (memory, lock):
                with suppress(FileNotFoundError):
                    if path.lstat().st_uid == owner:
                        path.unlink()
        finally:
            os.close(descriptor)
