import pytest

from hostmesh_controlplane.logic import plaintext
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Endpoint, Health, Service, ServiceState

WEB = SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/web")


def plain(last: int, *, weight: int = 1, port: int = 80, ill: bool = False) -> Endpoint:
    health = Health.UNHEALTHY if ill else Health.HEALTHY
    key = EndpointKey.of(f"10.0.0.{last}", 80)
    return Endpoint(key, port, 80, weight=weight, health=health)


def meshed(last: int, *, weight: int = 1) -> Endpoint:
    key = EndpointKey.of(f"10.0.0.{last}", 80)
    return Endpoint(key, 80, 80, weight=weight, identity=WEB)


@pytest.mark.parametrize(
    ("state", "endpoints", "expected"),
    [
        pytest.param(ServiceState.MIXED, (meshed(1), plain(2)), {2: 0.5}, id="half"),
        pytest.param(
            ServiceState.MIXED, (meshed(1, weight=3), plain(2)), {2: 0.25}, id="by weight"
        ),
        pytest.param(
            ServiceState.MIXED,
            (meshed(1), plain(2), plain(3, ill=True)),
            {2: 0.5},
            id="an unhealthy one gets nothing",
        ),
        pytest.param(
            ServiceState.MIXED,
            (meshed(1), plain(2, port=81), plain(3)),
            {2: 1.0, 3: 0.5},
            id="each port by itself",
        ),
        pytest.param(ServiceState.MESH, (meshed(1), plain(2)), {}, id="nothing in state mesh"),
        pytest.param(ServiceState.PLAIN, (plain(1), plain(2)), {1: 0.5, 2: 0.5}, id="plain"),
    ],
)
def test_each_unmeshed_endpoints_share(
    state: ServiceState, endpoints: tuple[Endpoint, ...], expected: dict[int, float]
) -> None:
    shares = plaintext.shares(Service("web", "default", state=state, endpoints=endpoints))
    assert {int(key.address.rpartition(".")[2]): part for (key, _), part in shares.items()} == (
        expected
    )


def test_a_services_share_is_its_worst_ports() -> None:
    one, two = EndpointKey.of("10.0.0.1", 80), EndpointKey.of("10.0.0.2", 80)
    assert plaintext.share({(one, 80): 0.2, (two, 80): 0.2, (two, 81): 0.3}) == 0.4
    assert plaintext.share({}) == 0.0


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0, "0 %"), (0.2, "20 %"), (0.0001, "<1 %"), (0.9999, ">99 %"), (1.0, "100 %")],
)
def test_what_is_there_is_never_shown_as_nothing(part: float, text: str) -> None:
    assert plaintext.percent(part) == text
