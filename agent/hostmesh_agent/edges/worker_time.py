"""How long an Envoy's workers ran or waited for a processor, as the kernel counts it (proc(5))."""

from pathlib import Path

from hostmesh_core import envoy_silence


class WorkerTime:
    """Reads it for one process; which of its threads are workers is found out once."""

    def __init__(self, pid: int) -> None:
        """Nothing is read before `seconds`."""
        self._tasks = Path(f"/proc/{pid}/task")
        self._files: list[Path] = []

    def seconds(self) -> float | None:
        """Give the sum over the workers; None where this user may not see it, or it has ended."""
        try:
            self._files = self._files or [
                task / "schedstat"
                for task in self._tasks.iterdir()
                if (task / "comm").read_text().startswith(envoy_silence.WORKER_THREAD)
            ]
            return envoy_silence.worked(file.read_text() for file in self._files)
        except OSError:
            return None
