"""Reads rendered bytes back: as YAML for golden files, and with an independent decoder."""

import importlib
import json
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToJson

from hostmesh_core import type_urls
from hostmesh_core.xds.resource import Resource


def message(type_url: str, body: bytes) -> Any:
    """Decode with the library that wrote it."""
    pool = descriptor_pool.Default()
    found = pool.FindMessageTypeByName(type_url.removeprefix(type_urls.PREFIX))
    return message_factory.GetMessageClass(found).FromString(body)


def shown(type_url: str, body: bytes) -> str:
    """Give a resource as YAML, with everything packed inside it opened."""
    value = json.loads(MessageToJson(message(type_url, body), preserving_proto_field_name=True))
    return yaml.safe_dump(value, width=100)  # maps have no order of their own


def all_shown(resources: Iterable[Resource]) -> str:
    """Give several resources as YAML documents."""
    return "".join(
        f"--- # {type_urls.SHORT[each.type_url]} {each.name}\n{shown(each.type_url, each.body)}"
        for each in resources
    )


def unread(type_url: str, body: bytes) -> list[str]:
    """Give what the independent decoder (envoy-data-plane) does not know or reads otherwise."""
    if type_url == type_urls.PREFIX + "xds.type.v3.TypedStruct":
        return _unread_struct(message(type_url, body))
    found = _foreign_class(type_url)().parse(body)
    problems = list(_unknown(found, type_url.rpartition(".")[2]))
    if message(type_url, bytes(found)) != message(type_url, body):
        problems.append(f"{type_url} reads back otherwise")
    return problems


def _unread_struct(struct: Any) -> list[str]:
    """Read what goes as keys and values, because our bindings do not know its type."""
    value = MessageToJson(struct.value)
    try:
        _foreign_class(struct.type_url).from_json(value, ignore_unknown_fields=False)
    except (KeyError, ValueError) as error:
        return [f"{struct.type_url}: {error}"]
    return []


def _foreign_class(type_url: str) -> Any:
    package, _, name = type_url.removeprefix(type_urls.PREFIX).rpartition(".")
    with warnings.catch_warnings():  # it marks Envoy's deprecated fields as it is imported
        warnings.simplefilter("ignore")
        module = importlib.import_module(f"envoy_data_plane.{package}")
    spelt = {key.lower(): key for key in vars(module)}  # it writes `Rbac` where Envoy has `RBAC`
    return getattr(module, spelt[name.lower()])


def _unknown(value: Any, path: str) -> Iterator[str]:
    if type(value).__name__ == "Any":
        yield from unread(value.type_url, value.value)
    elif getattr(value, "_unknown_fields", b""):
        yield f"{path}: {value._unknown_fields!r}"
    for name, each in _parts(value):
        yield from _unknown(each, f"{path}.{name}")


def _parts(value: Any) -> Iterable[tuple[object, Any]]:
    if isinstance(value, list):
        return enumerate(value)
    if isinstance(value, dict):
        return value.items()
    if hasattr(value, "_unknown_fields"):
        return [(name, getattr(value, name)) for name in value.__dataclass_fields__]
    return []
