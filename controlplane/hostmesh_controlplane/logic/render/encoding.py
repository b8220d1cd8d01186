"""The small pieces that every Envoy message here is built from, and the one way to encode one.

Deterministic encoding is what makes content hashes equal on every replica (DESIGN 8).
"""

import ipaddress
from collections.abc import Mapping
from functools import cache
from typing import Any

from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, extension_pb2
from google.protobuf import any_pb2, duration_pb2, struct_pb2
from google.protobuf.message import Message

from hostmesh_core import names, type_urls

UNLIMITED = 0xFFFFFFFF


def encode(message: Message) -> bytes:
    """Give a message's one byte form."""
    return message.SerializeToString(deterministic=True)


def packed(message: Message) -> any_pb2.Any:
    """Wrap a message as Envoy's typed configuration."""
    return any_pb2.Any(
        type_url=type_urls.PREFIX + message.DESCRIPTOR.full_name, value=encode(message)
    )


def extension(name: str, message: Message) -> Any:
    """Give a named extension with its configuration."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))


def seconds(value: float) -> duration_pb2.Duration:
    """Give a duration, exact to the microsecond."""
    whole, micros = divmod(round(value * 1_000_000), 1_000_000)
    return duration_pb2.Duration(seconds=whole, nanos=micros * 1000)


@cache
def ads(*, wait_for_ever: bool = False) -> Any:
    """Say that something comes over the one ADS stream.

    `wait_for_ever` is for what the relay always answers; without it Envoy goes on after 15 s.
    The message is shared: copy it, never change it.
    """
    source = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
    )
    if wait_for_ever:
        source.initial_fetch_timeout.SetInParent()
    return source


def address(host: str, port: int) -> Any:
    """Give a TCP address."""
    socket = address_pb2.SocketAddress(address=host, port_value=port)
    return address_pb2.Address(socket_address=socket)


def any_address(port: int, ipv6: bool) -> Any:  # noqa: FBT001 - a fact of the host, not a switch
    """Give every address of the host: `::` that takes IPv4 too, where the host has IPv6 sockets.

    Bound to 0.0.0.0 alone, what goes to IPv6 would leave the mesh (measured).
    """
    found = address("::" if ipv6 else "0.0.0.0", port)  # noqa: S104 - guarded by the chains
    found.socket_address.ipv4_compat = ipv6
    return found


def cidr(text: str) -> Any:
    """Give a range or a single address as Envoy's CidrRange."""
    network = ipaddress.ip_network(text)
    found = address_pb2.CidrRange(address_prefix=str(network.network_address))
    found.prefix_len.value = network.prefixlen
    return found


def metadata(block: str, values: Mapping[str, Any]) -> Any:
    """Give metadata with one block of filter metadata."""
    struct = struct_pb2.Struct()
    struct.update(values)
    return base_pb2.Metadata(filter_metadata={block: struct})


def own_metadata(values: Mapping[str, Any]) -> Any:
    """Give metadata with our own block: what the agent reads beside what Envoy uses."""
    return metadata(names.METADATA_NAMESPACE, values)
