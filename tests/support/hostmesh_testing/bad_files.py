"""Files that people get wrong: what is written, by which command it is read, what has to be said.

`FILE` in what is said stands for the file's path. Each case says the line, and the object or key.
"""

from dataclasses import dataclass
from enum import StrEnum
from textwrap import dedent


class Wrong(StrEnum):
    """What kind of mistake it is."""

    SYNTAX = "syntax"
    UNKNOWN_KEY = "unknown key"
    TYPE = "type"
    DANGLING = "dangling reference"
    SEMANTICS = "semantics"


class Read(StrEnum):
    """Which command reads the file."""

    AGENT_CHECK = "hostmesh-agent check"
    CAPTURE = "hostmesh-agent capture compile"
    JOIN = "hostmesh-agent join"
    PLANE_CHECK = "hostmesh-controlplane check"
    PLANE_RUN = "hostmesh-controlplane run"
    CATALOG = "hostmesh-controlplane check, of a catalog's document"


@dataclass(frozen=True)
class BadFile:
    """One case; its sentence is the test's id."""

    sentence: str
    wrong: Wrong
    read: Read
    text: str
    said: tuple[str, ...]


def bad(sentence: str, wrong: Wrong, read: Read, text: str, *said: str) -> BadFile:
    return BadFile(sentence, wrong, read, dedent(text), said)


INSTANCE = "bad-input-test"
OF_THE_INSTANCE = f"""\
instance: {INSTANCE}
ports: {{outbound: 16001, inbound: 16006, status: 16020, readiness: 16021, prometheus: 16090}}
"""
"""What makes an agent.yaml that of the instance whose folders the tests watch."""


def agent(rest: str) -> str:
    return "control_planes: [cp1.example.net]\n" + dedent(rest)


def entry(spec: str, *, metadata: str = "name: reviews") -> str:
    """Write a ServiceEntry; its spec begins on line 4."""
    lines = "".join(f"  {line}\n" for line in dedent(spec).strip().splitlines())
    return (
        "apiVersion: networking.istio.io/v1\n"
        "kind: ServiceEntry\n"
        f"metadata: {{{metadata}}}\n"
        "spec:\n" + lines
    )


GOOD_SPEC = """
    hosts: [reviews.default.mesh.internal]
    resolution: STATIC
    ports: [{number: 9080, name: http, protocol: HTTP}]
"""

SYNTAX = [
    bad(
        "agent.yaml with a list that is not closed",
        Wrong.SYNTAX,
        Read.AGENT_CHECK,
        "control_planes: [cp1.example.net\nservices: []\n",
        "cannot use FILE:2: not YAML",
    ),
    bad(
        "agent.yaml indented with a tab",
        Wrong.SYNTAX,
        Read.CAPTURE,
        "control_planes:\n\t- cp1.example.net\n",
        "cannot use FILE:2: not YAML",
    ),
    bad(
        "agent.yaml with one key twice",
        Wrong.SYNTAX,
        Read.JOIN,
        "control_planes: [cp1.example.net]\ndns: hosts\ndns: off\n",
        'cannot use FILE:3: key "dns"',
        "line 2",
    ),
    bad(
        "agent.yaml of two documents",
        Wrong.SYNTAX,
        Read.AGENT_CHECK,
        "control_planes: [cp1.example.net]\n---\nservices: []\n",
        "cannot use FILE:3: a second document; expected one",
    ),
    bad(
        "controlplane.yaml that is a list",
        Wrong.SYNTAX,
        Read.PLANE_RUN,
        "- version: 1\n",
        "cannot use FILE:1: expected keys and values, not a list",
    ),
    bad(
        "controlplane.yaml with an alias of nothing",
        Wrong.SYNTAX,
        Read.PLANE_CHECK,
        "version: 1\nlisten: *common\n",
        "cannot use FILE:2: alias *common has no anchor &common before it",
    ),
    bad(
        "controlplane.yaml with a quote that never ends",
        Wrong.SYNTAX,
        Read.PLANE_CHECK,
        'version: 1\ntrust_domain: "mesh.internal\n',
        "cannot use FILE:2: not YAML",
    ),
    bad(
        "a document with a tag that would make an object",
        Wrong.SYNTAX,
        Read.CATALOG,
        "apiVersion: !!python/name:os.system networking.istio.io/v1\nkind: ServiceEntry\n",
        "cannot use FILE:1: tag 'python/name:os.system' is not read",
    ),
    bad(
        "a document that is bare text",
        Wrong.SYNTAX,
        Read.CATALOG,
        "reviews\n",
        "cannot use FILE:1: ",
        'expected keys and values, not "reviews"',
    ),
    bad(
        "a document nested deeper than anybody writes",
        Wrong.SYNTAX,
        Read.CATALOG,
        "a: " + "[" * 100 + "]" * 100 + "\n",
        "cannot use FILE:1: nested deeper than 64 levels",
    ),
]

UNKNOWN_KEY = [
    bad(
        "agent.yaml misspells control_planes",
        Wrong.UNKNOWN_KEY,
        Read.JOIN,
        "control_plains: [cp1.example.net]\n",
        'cannot use FILE:1: control_plains: unknown key; did you mean "control_planes"?',
    ),
    bad(
        "agent.yaml misspells a service's port",
        Wrong.UNKNOWN_KEY,
        Read.CAPTURE,
        agent("services:\n  - {name: web, prot: 8080}\n"),
        'cannot use FILE:3: services[0].prot: unknown key; did you mean "port"?',
    ),
    bad(
        "agent.yaml misspells the kind of a health check",
        Wrong.UNKNOWN_KEY,
        Read.AGENT_CHECK,
        agent("services:\n  - name: web\n    port: 8080\n    health: {kin: http}\n"),
        'cannot use FILE:5: services[0].health.kin: unknown key; did you mean "kind"?',
    ),
    bad(
        "agent.yaml misspells an exclusion",
        Wrong.UNKNOWN_KEY,
        Read.CAPTURE,
        agent("capture:\n  exclude_outbound_cidr: [10.0.0.0/8]\n"),
        'FILE:3: capture.exclude_outbound_cidr: unknown key; did you mean "exclude_outbound_cidrs"',
    ),
    bad(
        "controlplane.yaml misspells trust_domain",
        Wrong.UNKNOWN_KEY,
        Read.PLANE_RUN,
        "version: 1\ntrust_domian: mesh.internal\n",
        'cannot use FILE:2: trust_domian: unknown key; did you mean "trust_domain"?',
    ),
    bad(
        "controlplane.yaml misspells a listener",
        Wrong.UNKNOWN_KEY,
        Read.PLANE_CHECK,
        "version: 1\nlisten:\n  enrollment: 0.0.0.0:15013\n",
        'cannot use FILE:3: listen.enrollment: unknown key; did you mean "enrolment"?',
    ),
    bad(
        "controlplane.yaml writes keys as Istio does",
        Wrong.UNKNOWN_KEY,
        Read.PLANE_CHECK,
        "version: 1\nca:\n  leafHours: 24\n",
        'cannot use FILE:3: ca.leafHours: unknown key; did you mean "leaf_hours"?',
    ),
    bad(
        "controlplane.yaml misspells a key of a source",
        Wrong.UNKNOWN_KEY,
        Read.PLANE_CHECK,
        "sources:\n  - name: dc1\n    kind: consul\n    adress: http://127.0.0.1:8500\n",
        'cannot use FILE:4: sources[0].adress: unknown key; did you mean "address"?',
    ),
    bad(
        "a ServiceEntry misspells resolution",
        Wrong.UNKNOWN_KEY,
        Read.CATALOG,
        entry(GOOD_SPEC + "    resolutoin: STATIC\n"),
        "cannot use FILE:8: ServiceEntry default/reviews: unknown key",
        'did you mean "resolution"?',
    ),
    bad(
        "a ServiceEntry misspells the address of an endpoint",
        Wrong.UNKNOWN_KEY,
        Read.CATALOG,
        entry(GOOD_SPEC + "    endpoints: [{addres: 10.0.0.1}]\n"),
        "cannot use FILE:8: ServiceEntry default/reviews: unknown key",
        'did you mean "address"?',
    ),
    bad(
        "a ServiceEntry misspells an annotation of ours",
        Wrong.UNKNOWN_KEY,
        Read.CATALOG,
        entry(GOOD_SPEC, metadata="name: reviews, annotations: {hostmesh.io/alias: a.b}"),
        "cannot use FILE:3: ServiceEntry default/reviews: unknown annotation",
        'did you mean "hostmesh.io/aliases"?',
    ),
]
