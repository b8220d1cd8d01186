"""Which identities this host needs: one per declared service, and one for its outbound calls."""

from collections.abc import Iterable

from hostmesh_agent.config import AgentConfig, ServiceConfig
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity

DEFAULT_NAMESPACE = "default"


def identity_of(service: ServiceConfig, grant: Grant) -> Identity:
    """Give the identity that a service is served under: stated, else the grant's only one.

    Where the grant has none or several, a service speaks under its own name.
    """
    default = grant.default_identity()
    namespace = service.namespace or (default.namespace if default else DEFAULT_NAMESPACE)
    if service.service_account:
        return Identity(namespace, service.service_account)
    if default is not None and default.namespace == namespace:
        return default
    return Identity(namespace, service.name.split(".", 1)[0])


def outbound_identity(config: AgentConfig, grant: Grant) -> Identity | None:
    """Give who processes without an identity of their own speak as; None = nobody is named."""
    return config.outbound.default_identity or grant.default_identity()


def wanted(
    config: AgentConfig, grant: Grant, declared: Iterable[ServiceConfig] = ()
) -> tuple[Identity, ...]:
    """Give every identity to hold a certificate of, sorted. `declared`: services that go yet."""
    found = {identity_of(service, grant) for service in (*config.services, *declared)}
    outbound = outbound_identity(config, grant)
    return tuple(sorted(found | ({outbound} if outbound else set())))
