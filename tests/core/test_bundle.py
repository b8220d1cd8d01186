"""Trust bundles: equal content is an equal value, and nothing enters that may not sign."""

import pytest

from hostmesh_core.bundle import TrustBundles
from hostmesh_core.errors import BadInput
from hostmesh_testing import forge

OURS, NEXT, THEIRS = forge.root(), forge.root(name="next"), forge.root("b.example.net", name="b")


def test_the_order_of_the_domains_does_not_matter_and_that_of_the_roots_stays() -> None:
    one = TrustBundles.of({"mesh.internal": [OURS.der, NEXT.der], "b.example.net": [THEIRS.der]})
    two = TrustBundles.of({"b.example.net": [THEIRS.der], "mesh.internal": [OURS.der, NEXT.der]})
    assert one == two
    assert one.trust_domains == ("b.example.net", "mesh.internal")
    assert one.roots("mesh.internal") == (OURS.certificate, NEXT.certificate)
    assert one.roots_pem("mesh.internal") == OURS.pem + NEXT.pem


def test_what_is_stored_is_read_again() -> None:
    bundles = TrustBundles.of(
        {"mesh.internal": [OURS.der, NEXT.der], "b.example.net": [THEIRS.der]}
    )
    assert TrustBundles.from_json(bundles.to_json()) == bundles
    assert TrustBundles.from_json(TrustBundles().to_json()) == TrustBundles()


def test_an_unknown_domain_has_no_roots() -> None:
    bundles = TrustBundles.of({"mesh.internal": [OURS.der]})
    assert bundles.roots("other.net") == ()
    assert bundles.roots_pem("other.net") == b""


def test_a_root_that_states_no_domain_may_be_trusted_for_one() -> None:
    made_elsewhere = forge.certificate(authority=True, name="elsewhere")
    bundles = TrustBundles.of({"mesh.internal": [forge.der(made_elsewhere)]})
    assert bundles.roots("mesh.internal") == (made_elsewhere,)


@pytest.mark.parametrize(
    "roots",
    [
        pytest.param({"mesh.internal": [forge.der(forge.certificate())]}, id="a leaf"),
        pytest.param({"mesh.internal": [THEIRS.der]}, id="a root that states another domain"),
        pytest.param({"mesh.internal": [b"rubbish"]}, id="rubbish"),
        pytest.param({"Not A Domain": [OURS.der]}, id="a domain that is none"),
    ],
)
def test_nobody_trusts(roots: dict[str, list[bytes]]) -> None:
    with pytest.raises(BadInput, match="cannot"):
        TrustBundles.of(roots)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="nothing"),
        pytest.param(["mesh.internal"], id="a list"),
        pytest.param({"mesh.internal": ["pem"]}, id="a list of roots"),
        pytest.param({"mesh.internal": "no pem"}, id="a text that is no PEM"),
    ],
)
def test_no_bundles_can_be_read_from(value: object) -> None:
    with pytest.raises(BadInput, match="cannot"):
        TrustBundles.from_json(value)
