"""Calls the operator API over its unix socket. Standard library: a CLI must start fast."""

import http.client
import json
import socket
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable

DEFAULT_SOCKET = "/run/hostmesh-controlplane/api.sock"
_ERRORS: dict[int, type[HostmeshError]] = {
    400: BadInput,
    404: BadInput,
    413: BadInput,
}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ApiClient:
    """One control plane. Each call opens its own connection."""

    def __init__(self, path: str = DEFAULT_SOCKET, *, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def get(self, *segments: str, **query: str) -> object:
        """Read. Raises Unreachable, BadInput, Refused."""
        return self._call("GET", segments, query, None)

    def post(self, *segments: str, body: Mapping[str, object] | None = None) -> object:
        """Write. Raises Unreachable, BadInput, Refused."""
        return self._call("POST", segments, {}, body or {})

    def _call(
        self,
        method: str,
        segments: tuple[str, ...],
        query: Mapping[str, str],
        body: Mapping[str, object] | None,
    ) -> object:
        path = "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
        if query:
            path += "?" + urlencode(query)
        status, raw = self._exchange(method, path, body)
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise Unreachable(
                f"cannot read the control plane's answer on {self._path}: HTTP {status}"
            ) from error
        if status == 200:
            return answer
        said = answer if isinstance(answer, dict) else {}
        text = str(said.pop("error", raw.decode()))
        if status == 409:
            raise Refused(text, said)
        raise _ERRORS.get(status, Unreachable)(text)

    def _exchange(
        self, method: str, path: str, body: Mapping[str, object] | None
    ) -> tuple[int, bytes]:
        connection = _UnixConnection(self._path, timeout=self._timeout)
        payload = None if body is None else json.dumps(body)
        try:
            connection.request(
                method, path, body=payload, headers={"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            return response.status, response.read()
        except PermissionError as error:
            raise Unreachable(
                f"cannot open {self._path}: permission denied; run as root or as a member of "
                "the group hostmesh-admin"
            ) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Unreachable(
                f"cannot reach the control plane at {self._path}: it does not run here; start it "
                "with: hostmesh-controlplane run --config controlplane.yaml (or name its socket "
                "with --api)"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"cannot talk to the control plane at {self._path}: {error}"
            ) from error
        finally:
            connection.close()
