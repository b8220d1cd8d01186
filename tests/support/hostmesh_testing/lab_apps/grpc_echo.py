"""A stock gRPC server: unary and bidirectional echo of bytes; tells what identity it was shown.

Run as `python -m hostmesh_testing.lab_apps.grpc_echo PORT`.
"""

import sys
from collections.abc import Iterator
from concurrent import futures

import grpc


def _identity(context: grpc.ServicerContext) -> bytes:
    metadata = dict(context.invocation_metadata())
    return str(metadata.get("x-forwarded-client-cert", "")).encode()


def _unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("x-trailer", "kept"),))
    return request + b"|" + _identity(context)


def _stream(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
    for request in requests:
        yield request.upper()


def _fail(_: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_code(grpc.StatusCode.FAILED_PRECONDITION)
    return b""


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
        "Fail": grpc.unary_unary_rpc_method_handler(_fail),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab.Echo", handlers),))
    server.add_insecure_port(f"[::]:{sys.argv[1]}")
    server.start()
    print("serving", flush=True)  # noqa: T201
    server.wait_for_termination()


if __name__ == "__main__":
    main()
