"""How much memory a process has and how much is left: a hot restart needs room for two Envoys."""

from contextlib import suppress
from pathlib import Path

_KIB = 1024


def resident_bytes(pid: int) -> int:
    """Give a process's resident memory; 0 where it has ended."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * _KIB
    return 0


def available_bytes(pid: int) -> int:
    """Give what a process of `pid`'s cgroup can still get: the machine's rest or the limit's."""
    return min([_machine(), *_limits(pid)])


def _machine() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * _KIB
    return 2**62


def _limits(pid: int) -> list[int]:
    """Give what is left of each cgroup v2 limit above the process."""
    left: list[int] = []
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                group = Path("/sys/fs/cgroup") / line[4:]
                left += [_left(folder) for folder in (group, *group.parents)]
    return [value for value in left if value >= 0]


def _left(folder: Path) -> int:
    with suppress(OSError, ValueError):
        limit = int((folder / "memory.max").read_text())
        return max(0, limit - int((folder / "memory.current").read_text()))
    return -1
