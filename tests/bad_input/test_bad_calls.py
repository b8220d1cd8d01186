"""Wrong calls of a running control plane: refused with a clear sentence, and nothing is changed."""

import pytest

from hostmesh_testing import command_line
from hostmesh_testing.bad_calls import Running, call

pytestmark = pytest.mark.process

BAD_INPUT, REFUSED = 2, 1


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        pytest.param(
            ["token", "create", "--service", "web", "--namespace", "Default"],
            BAD_INPUT,
            "cannot create the token: namespace: 'Default' is no name or pattern",
            id="a token for a namespace in capitals",
        ),
        pytest.param(
            ["token", "create", "--service", "web shop"],
            BAD_INPUT,
            "cannot create the token: service: 'web shop' is no name or pattern",
            id="a token for a service with a space",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--cidr", "10.1.0.0/33"],
            BAD_INPUT,
            "cannot create the token: cidr: '10.1.0.0/33' is no network such as 10.1.0.0/16",
            id="a token for a network that is none",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--cidr", "10.1.2.3/16"],
            BAD_INPUT,
            "cidr: '10.1.2.3/16' has host bits; did you mean \"10.1.0.0/16\"?",
            id="a token for a network with host bits",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--label", "version"],
            BAD_INPUT,
            "cannot create the token: label: 'version' is not KEY=VALUE",
            id="a token with a label without a value",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--label", "v=1", "--label", "v=2"],
            BAD_INPUT,
            "cannot create the token: label: 'v' is given twice",
            id="a token with one label twice",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--uses", "0"],
            BAD_INPUT,
            "Invalid value for '--uses': 0 is not in the range x>=1",
            id="a token for nobody",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--uses", "10000000"],
            BAD_INPUT,
            "cannot create the token: uses: expected a number from 1 to 1e+06, not 10000000",
            id="a token for more hosts than there are",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--ttl", "1y"],
            BAD_INPUT,
            "cannot use duration '1y': write a number and s, m, h or d",
            id="a token for a unit of time that is not known",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--ttl", "9999d"],
            BAD_INPUT,
            "cannot create the token: ttl_seconds: expected a number from 1 to ",
            id="a token that outlives everything",
        ),
        pytest.param(
            ["token", "create"],
            BAD_INPUT,
            "cannot create the token: service: a token needs a --service, or a --service-account",
            id="a token for nothing",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--role", "router"],
            BAD_INPUT,
            "Invalid value for '--role': 'router' is not one of 'sidecar', 'gateway'",
            id="a token for a role that does not exist",
        ),
        pytest.param(
            ["token", "revoke", "0000000000000000"],
            BAD_INPUT,
            "cannot revoke token '0000000000000000': there is none; list them with: hostmesh token",
            id="the end of a token that does not exist",
        ),
        pytest.param(
            ["endpoints", "reveiws"],
            BAD_INPUT,
            'cannot find service reveiws; did you mean "reviews"?; look at: hostmesh services',
            id="the endpoints of a service that does not exist",
        ),
        pytest.param(
            ["service", "show", "reviews.shop.mesh.internal"],
            BAD_INPUT,
            'cannot find service reviews.shop.mesh.internal; did you mean "reviews.default.mesh.',
            id="a service of another namespace",
        ),
        pytest.param(
            ["service", "require-mesh", "nothing"],
            BAD_INPUT,
            "cannot find service nothing; look at: hostmesh services",
            id="the mesh required of a service that does not exist",
        ),
        pytest.param(
            ["service", "allow-unmeshed", "reviews"],
            REFUSED,
            "it is plain, so all of its endpoints are reached as their catalog says already",
            id="plaintext allowed where there is nothing else",
        ),
        pytest.param(
            ["service", "allow-unmeshed", "ratings"],
            REFUSED,
            "says hostmesh.io/require-mesh; take the annotation out first",
            id="plaintext allowed against a static document",
        ),
        pytest.param(
            ["service", "allow-unmeshed", "reviews", "--cidr", "10.9.0.1/24"],
            BAD_INPUT,
            "cidr: '10.9.0.1/24' has host bits; did you mean \"10.9.0.0/24\"?",
            id="plaintext allowed in a network with host bits",
        ),
        pytest.param(
            ["source", "accept", "flies"],
            BAD_INPUT,
            'cannot find source flies; did you mean "files"?',
            id="a source that does not exist",
        ),
        pytest.param(
            ["proxy-status", "web-2"],
            BAD_INPUT,
            "cannot find host 'web-2'; did you mean \"web-1\"?; list them with: hostmesh hosts",
            id="the proxy of a host that does not exist",
        ),
        pytest.param(
            ["host", "grant", "no-such-host", "--add-service", "api"],
            BAD_INPUT,
            "cannot find host 'no-such-host'",
            id="a grant for a host that does not exist",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--remove-service", "api"],
            BAD_INPUT,
            "cannot remove default/api: the grant covers services default/web",
            id="a service taken away that was never granted",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--remove-service-account", "shop/web"],
            BAD_INPUT,
            "cannot remove shop/web: the grant covers services default/web",
            id="an account taken away in another namespace",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--remove-cidr", "10.8.0.0/24"],
            BAD_INPUT,
            "cannot remove network 10.8.0.0/24: the grant has 10.9.0.0/24",
            id="a network taken away that was never granted",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--add-cidr", "everywhere"],
            BAD_INPUT,
            "cannot change the grant: add_cidr: 'everywhere' is no network",
            id="a network that is a word",
        ),
        pytest.param(
            ["host", "grant", "HOST"],
            BAD_INPUT,
            "cannot change a grant without a change; see: hostmesh host grant --help",
            id="a grant changed by nothing",
        ),
        pytest.param(
            ["host", "revoke", "web-9", "--yes"],
            BAD_INPUT,
            "cannot find host 'web-9'; did you mean \"web-1\"?",
            id="a host revoked that does not exist",
        ),
        pytest.param(
            ["host", "revoke", "HOST", "--yes", "--reason", "x" * 70_000],
            BAD_INPUT,
            "cannot send so much in one call",
            id="a reason longer than a call may be",
        ),
    ],
)
def test_a_wrong_call_by_the_command_line(
    running: Running, argv: list[str], status: int, said: str
) -> None:
    before = running.unchanged()
    ended = running.hostmesh(*argv)
    assert said in ended.err, ended.err
    assert (ended.status, ended.out) == (status, "")
    assert "Traceback" not in ended.err
    assert running.unchanged() == before


def test_the_mesh_required_while_healthy_endpoints_have_no_agent(running: Running) -> None:
    before = running.unchanged()
    ended = running.hostmesh("service", "require-mesh", "reviews")
    said = "2 endpoints are not meshed and healthy: 10.9.0.1:9080 (files), 10.9.0.2:9080 (files)"
    assert said in ended.err
    assert ended.status == REFUSED
    assert "would be withheld from meshed clients:" in ended.out
    assert "10.9.0.2:9080" in ended.out
    assert running.unchanged() == before


def test_a_control_plane_that_is_not_there(running: Running) -> None:
    ended = command_line.run("hostmesh", "--api", running.plane.socket + ".gone", "services")
    assert ended.status == 1
    assert "it does not run here; start it with: hostmesh-controlplane run" in ended.err


def test_every_refused_write_is_in_the_audit_log_and_none_made_a_traceback(
    running: Running,
) -> None:
    call(running, "POST", "/v1/sources/files/accept", b'{"why": 1}')
    running.hostmesh("service", "require-mesh", "reviews")
    log = running.plane.log()
    assert "call='POST /v1/sources/files/accept' user=" in log
    assert "outcome=\"cannot accept the source: unknown field 'why'\"" in log
    assert (
        "change='plain -> plain' outcome='cannot require mesh for reviews.default.mesh.internal: 2 "
        in log
    )
    assert "Traceback" not in log
