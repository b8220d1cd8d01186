"""A control plane to call wrongly, and how to call it."""

import http.client
import json
import socket
from dataclasses import dataclass

from hostmesh_testing import command_line
from hostmesh_testing.plane_process import EnrolledHost, PlaneProcess

CATALOG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.9.0.1}, {address: 10.9.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings, annotations: {hostmesh.io/require-mesh: "true"}}
spec:
  hosts: [ratings.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 9090, name: grpc, protocol: GRPC}]
  endpoints: [{address: 10.9.0.3}]
"""


@dataclass(frozen=True)
class Running:
    """A control plane with two services, a host and a token that is left."""

    plane: PlaneProcess
    host: EnrolledHost

    def unchanged(self) -> tuple[object, object]:
        return self.plane.answers(), self.plane.state_files()

    def hostmesh(self, *argv: str) -> command_line.Ended:
        filled = [text.replace("HOST", self.host.host_id) for text in argv]
        return command_line.run("hostmesh", "--api", self.plane.socket, *filled)


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def error(self) -> str:
        return str(json.loads(self.text)["error"])


def call(running: Running, method: str, path: str, body: bytes) -> Answer:
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(running.plane.socket)
    try:
        connection.request(method, path.replace("HOST", running.host.host_id), body=body)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()
