"""A stock gRPC client: calls every kind of method once and prints what came back as JSON.

Run as `python -m hostmesh_testing.lab_apps.grpc_call TARGET`.
"""

import json
import sys

import grpc


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/lab.Echo/Unary")
        answer, call = unary.with_call(b"hello", timeout=10)
        stream: grpc.StreamStreamMultiCallable[bytes, bytes]
        stream = channel.stream_stream("/lab.Echo/Stream")
        fail: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/lab.Echo/Fail")
        streamed = list(stream(iter([b"a", b"b", b"c"]), timeout=10))
        try:
            fail(b"", timeout=10)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        text, _, identity = answer.decode().partition("|")
        said = {
            "unary": text,
            "identity": identity,
            "trailers": dict(call.trailing_metadata()).get("x-trailer", ""),
            "stream": [part.decode() for part in streamed],
            "failure": code,
        }
        print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main()
