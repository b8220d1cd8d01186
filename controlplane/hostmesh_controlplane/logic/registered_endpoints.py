"""The endpoints of a service that hosts have registered: which of them count, what they replace."""

from dataclasses import replace

from hostmesh_controlplane.logic.catalog import CatalogEndpoint
from hostmesh_controlplane.logic.catalog_health import Word
from hostmesh_controlplane.logic.draft import Draft, Groups, Listed, united
from hostmesh_controlplane.logic.service_ports import REGISTERED
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Endpoint, Health, Labels, RegisteredInstance, Withheld
from hostmesh_core.one_line import shortened

SHOWN_LABELS = 200
"""Characters of each side's labels in a sentence about them; a catalog may have 64 of 1 KiB."""


def instance_keys(instance: RegisteredInstance) -> frozenset[EndpointKey]:
    """Give every key under which a catalog may list this very instance: per address where peers
    connect, and the app's own port.
    """
    apps = (replace(key, port=instance.workload_port) for key in instance.keys)
    return frozenset({*instance.keys, *apps})


def live_instances(draft: Draft) -> list[RegisteredInstance]:
    """Give the registrations that count, one per (service port, key): of two hosts that register
    one key the later one in the inputs counts. The keys of one that is not accepted are noted:
    behind them is an app that is meshed, so no catalog's word makes them plaintext.
    """
    live: dict[tuple[int, EndpointKey], RegisteredInstance] = {}
    for instance in draft.inputs.instances:
        key = instance.keys[0]
        if key in draft.owned:
            reason = f"{key} is registered by {draft.owned[key]} already"
        elif instance.identity not in draft.accepted:
            ids = ", ".join(map(str, draft.accepted)) or "none"
            reason = f"it runs as {instance.identity}; clients of this service accept {ids}"
        else:
            live[(instance.port.number, key)] = instance
            continue
        draft.withheld.append(Withheld(key, REGISTERED, reason))
        draft.unaccepted.update(dict.fromkeys(instance_keys(instance), reason))
    return list(live.values())


def add_registered(draft: Draft, live: list[RegisteredInstance], groups: Groups) -> None:
    """Add the live instances. Each replaces what catalogs list of it, on every port of the
    service, but those for which its host registered the same key too: they are that one's.
    """
    own: dict[EndpointKey, set[int]] = {}
    for instance in live:
        own.setdefault(instance.keys[0], set()).add(instance.port.number)
    done: set[tuple[int, EndpointKey]] = set()
    for instance in live:
        first, number = instance.keys[0], instance.port.number
        by_port: dict[int, Listed] = {number: []}
        for key in sorted(instance_keys(instance)):
            for port in list(groups.get(key, ())):
                if port == number or port not in own[first]:
                    by_port.setdefault(port, []).extend(groups[key].pop(port))
        for port, listed in sorted(by_port.items()):
            if (port, first) not in done:
                done.add((port, first))
                listed.sort(key=lambda one: draft.rules.rank(one[0]))
                draft.endpoints.append(_registered(draft, instance, port=port, listed=listed))


def _registered(
    draft: Draft, instance: RegisteredInstance, *, port: int, listed: Listed
) -> Endpoint:
    """Unite an instance with its catalog entries. Identity and labels are its own alone."""
    rules = draft.rules
    own = CatalogEndpoint(
        key=instance.keys[0],
        weight=instance.weight,
        locality=instance.locality,
        labels=instance.labels,
    )
    said: Listed = sorted([*listed, (REGISTERED, own)], key=lambda one: rules.rank(one[0]))
    endpoint = united(draft, own.key, port, said)
    for source, other in listed:
        if other.labels and other.labels != instance.labels:
            draft.conflicts.append(
                f"{own.key} has the labels of its registration ({_text(instance.labels)}); "
                f"{source} says {_text(other.labels)}"
            )
    since = min((e.unwell_since for _, e in listed if e.unwell_since), default=0.0)
    draft.words[port, own.key] = Word(instance.health, endpoint.health, since)
    return replace(
        endpoint,
        workload_port=instance.workload_port,
        additional=tuple(k for k in instance.keys[1:] if k not in draft.owned),
        health=Health.worst(instance.health, endpoint.health),
        reasons=tuple(
            dict.fromkeys([*(f"{REGISTERED}: {r}" for r in instance.reasons), *endpoint.reasons])
        ),
        identity=instance.identity,
        host_id=instance.host_id,
        labels=instance.labels,
        held=False,
    )


def _text(labels: Labels) -> str:
    said = ", ".join(f"{key}={value}" for key, value in labels)
    return shortened(said, SHOWN_LABELS) or "none"
