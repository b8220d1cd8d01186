"""Files whose YAML is right and whose values are not: the rest of `bad_files`."""

from hostmesh_testing.bad_files import GOOD_SPEC, OF_THE_INSTANCE, Read, Wrong, agent, bad, entry

TYPE = [
    bad(
        "agent.yaml has one control plane without its list",
        Wrong.TYPE,
        Read.JOIN,
        "control_planes: cp1.example.net\n",
        "cannot use FILE:1: control_planes: expected a list, not ",
    ),
    bad(
        "agent.yaml has a port that is a word",
        Wrong.TYPE,
        Read.CAPTURE,
        agent("services:\n  - name: web\n    port: http\n"),
        "cannot use FILE:4: services[0].port: expected an integer, not ",
    ),
    bad(
        "agent.yaml quotes a port",
        Wrong.TYPE,
        Read.AGENT_CHECK,
        agent('services:\n  - name: web\n    port: "8080"\n'),
        "cannot use FILE:4: services[0].port: expected an integer, not ",
    ),
    bad(
        "agent.yaml has a label that is a number",
        Wrong.TYPE,
        Read.AGENT_CHECK,
        agent("services:\n  - {name: web, port: 80, labels: {version: 1.0}}\n"),
        "cannot use FILE:3: services[0].labels.version: expected a text, not ",
        "put it in quotes",
    ),
    bad(
        "agent.yaml answers yes where true is meant",
        Wrong.TYPE,
        Read.CAPTURE,
        agent("capture: {enabled: yes}\n"),
        "cannot use FILE:2: capture.enabled: expected true or false, not ",
    ),
    bad(
        "controlplane.yaml has a listener that is a bare port",
        Wrong.TYPE,
        Read.PLANE_RUN,
        "version: 1\nlisten:\n  xds: 15012\n",
        "cannot use FILE:3: listen.xds: expected a text, not ",
    ),
    bad(
        "controlplane.yaml has a life with its unit",
        Wrong.TYPE,
        Read.PLANE_CHECK,
        "version: 1\nca:\n  leaf_hours: 72h\n",
        "cannot use FILE:3: ca.leaf_hours: expected a number, not ",
    ),
    bad(
        "controlplane.yaml has its sources as a mapping",
        Wrong.TYPE,
        Read.PLANE_CHECK,
        "sources:\n  files: {kind: static}\n",
        "cannot use FILE:1: sources: expected a list, not ",
    ),
    bad(
        "a ServiceEntry quotes a port number",
        Wrong.TYPE,
        Read.CATALOG,
        entry(GOOD_SPEC.replace("9080", '"9080"')),
        "cannot use FILE:7: ServiceEntry default/reviews: spec.ports[0].number: ",
        'expected a whole number, not "9080"',
    ),
    bad(
        "a WorkloadEntry has an unquoted label that YAML reads as a number",
        Wrong.TYPE,
        Read.CATALOG,
        """\
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: r1}
        spec:
          address: 10.0.0.1
          labels: {version: 2}
        """,
        "cannot use FILE:6: WorkloadEntry default/r1: spec.labels.version: expected a text",
    ),
]

DANGLING = [
    bad(
        "agent.yaml excludes the port of a service",
        Wrong.DANGLING,
        Read.CAPTURE,
        agent("services: [{name: web, port: 8080}]\ncapture:\n  exclude_inbound_ports: [8080]\n"),
        "cannot use FILE:4: capture.exclude_inbound_ports: 8080 is the port of services[0] (web)",
    ),
    bad(
        "agent.yaml names a protocol that does not exist",
        Wrong.DANGLING,
        Read.AGENT_CHECK,
        agent("services:\n  - {name: web, port: 80, protocol: htpp}\n"),
        "cannot use FILE:3: services[0].protocol: expected one of",
        'did you mean "http"?',
    ),
    bad(
        "agent.yaml listens where its port is not",
        Wrong.DANGLING,
        Read.AGENT_CHECK,
        agent("services:\n  - name: web\n    port: 8080\n    listen: 127.0.0.1:9090\n"),
        "cannot use FILE:5: services[0].listen: port 9090 differs from port: 8080",
    ),
    bad(
        "agent.yaml has an identity of no namespace",
        Wrong.DANGLING,
        Read.AGENT_CHECK,
        agent("outbound:\n  default_identity: batch\n"),
        "cannot use FILE:3: outbound.default_identity: ",
    ),
    bad(
        "controlplane.yaml reads a folder that is not there",
        Wrong.DANGLING,
        Read.PLANE_CHECK,
        "sources:\n  - name: files\n    kind: static\n    path: /nowhere/catalog\n",
        "cannot use FILE:4: sources[0].path: cannot read /nowhere/catalog: No such file",
    ),
    bad(
        "controlplane.yaml names a token file that is not there",
        Wrong.DANGLING,
        Read.PLANE_CHECK,
        "sources:\n  - {name: dc1, kind: consul,\n     token_file: /nowhere/token}\n",
        "cannot use FILE:3: sources[0].token_file: cannot read /nowhere/token: No such file",
    ),
    bad(
        "controlplane.yaml names a CA that is not there",
        Wrong.DANGLING,
        Read.PLANE_CHECK,
        """\
        sources:
          - name: dc1
            kind: consul
            address: https://127.0.0.1:8501
            tls:
              ca_file: /nowhere/ca.pem
        """,
        "cannot use FILE:6: sources[0].tls.ca_file: cannot read /nowhere/ca.pem: No such file",
    ),
    bad(
        "controlplane.yaml ranks a kind of source that does not exist",
        Wrong.DANGLING,
        Read.PLANE_CHECK,
        "precedence: [static, consol]\n",
        "cannot use FILE:1: precedence: unknown kind 'consol'; did you mean \"consul\"?",
    ),
    bad(
        "controlplane.yaml has a certificate without its key",
        Wrong.DANGLING,
        Read.PLANE_CHECK,
        """\
        sources:
          - name: dc1
            kind: consul
            address: https://127.0.0.1:8501
            tls: {certificate_file: /etc/hosts}
        """,
        'cannot use FILE:5: sources[0].tls: key "key_file" is required',
    ),
    bad(
        "controlplane.yaml builds names from a field that does not exist",
        Wrong.DANGLING,
        Read.PLANE_CHECK,
        """\
        sources:
          - {name: dc1, kind: consul, host_template: "{name}.{namespace}.{mesh_domain}"}
        """,
        "cannot use FILE:2: sources[0].host_template: ",
        "known: {datacenter}, {mesh_domain}, {namespace}, {service}",
    ),
    bad(
        "a ServiceEntry's endpoint names a port that the service has not",
        Wrong.DANGLING,
        Read.CATALOG,
        entry(GOOD_SPEC + "    endpoints: [{address: 10.0.0.1, ports: {htpp: 80}}]\n"),
        "cannot use FILE:8: ServiceEntry default/reviews: spec.endpoints[0].ports names the port",
        'did you mean "http"?',
    ),
    bad(
        "a ServiceEntry calls a port server-first that the service has not",
        Wrong.DANGLING,
        Read.CATALOG,
        entry(GOOD_SPEC, metadata="name: r, annotations: {hostmesh.io/server-first: mysql}"),
        "cannot use FILE:3: ServiceEntry default/r: annotation hostmesh.io/server-first: "
        'the service has no port "mysql"',
    ),
]

SEMANTICS = [
    bad(
        "agent.yaml gives two services one port",
        Wrong.SEMANTICS,
        Read.CAPTURE,
        agent("services:\n  - {name: web, port: 8080}\n  - {name: api, port: 8080}\n"),
        "cannot use FILE:4: services[1].port: port 8080 is already that of services[0]",
    ),
    bad(
        "agent.yaml takes a port of the proxy's own",
        Wrong.SEMANTICS,
        Read.AGENT_CHECK,
        agent("services:\n  - {name: web, port: 15006}\n"),
        "cannot use FILE:3: services[0].port: 15006 is the proxy's own (ports.inbound)",
    ),
    bad(
        "agent.yaml wants a server-first port permissive",
        Wrong.SEMANTICS,
        Read.CAPTURE,
        agent(
            "services:\n  - name: db\n    port: 3306\n    server_first: true\n"
            "    inbound: permissive\n"
        ),
        "cannot use FILE:5: services[0].server_first: needs inbound: strict or disable",
    ),
    bad(
        "agent.yaml kills Envoy before it has drained",
        Wrong.SEMANTICS,
        Read.AGENT_CHECK,
        agent("envoy:\n  drain_seconds: 60\n  stop_seconds: 30\n"),
        "cannot use FILE:4: envoy.stop_seconds: shorter than drain_seconds 60",
    ),
    bad(
        "agent.yaml has a second instance without ports of its own",
        Wrong.SEMANTICS,
        Read.CAPTURE,
        agent("instance: gateway\n"),
        "cannot use FILE:2: instance: 'gateway' has to state its own ports; not there: outbound",
    ),
    bad(
        "agent.yaml wants ssh captured",
        Wrong.SEMANTICS,
        Read.CAPTURE,
        agent(OF_THE_INSTANCE + "services:\n  - {name: shell, port: 22}\n"),
        "cannot capture port 22: ssh is never captured",
    ),
    bad(
        "agent.yaml is of a version that is not known",
        Wrong.SEMANTICS,
        Read.JOIN,
        "version: 2\ncontrol_planes: [cp1.example.net]\n",
        "cannot use FILE:1: version: expected 1 to 1, not 2",
    ),
    bad(
        "controlplane.yaml ends a lease with one lost renewal",
        Wrong.SEMANTICS,
        Read.PLANE_RUN,
        "version: 1\nlease_seconds: 5\nrenew_seconds: 4\n",
        "cannot use FILE:3: renew_seconds: a lease of 5 s",
    ),
    bad(
        "controlplane.yaml promises an outage that its certificates cannot outlive",
        Wrong.SEMANTICS,
        Read.PLANE_CHECK,
        "version: 1\nca:\n  leaf_hours: 24\n  outage_hours: 24\n",
        "cannot use FILE:4: ca.outage_hours: certificates of 24 h",
    ),
    bad(
        "controlplane.yaml has two listeners on one port",
        Wrong.SEMANTICS,
        Read.PLANE_CHECK,
        'version: 1\nlisten:\n  xds: "[::]:15012"\n  enrolment: 127.0.0.1:15012\n',
        "cannot use FILE:4: listen.enrolment: port 15012 is that of listen.xds already",
    ),
    bad(
        "controlplane.yaml switches mutual TLS off for everybody",
        Wrong.SEMANTICS,
        Read.PLANE_CHECK,
        "version: 1\nmtls: disable\n",
        "cannot use FILE:2: mtls: expected permissive or strict",
    ),
    bad(
        "a ServiceEntry is resolved by DNS",
        Wrong.SEMANTICS,
        Read.CATALOG,
        entry(GOOD_SPEC.replace("STATIC", "DNS")),
        "cannot use FILE:6: ServiceEntry default/reviews: spec.resolution: DNS is not supported",
    ),
    bad(
        "a ServiceEntry names a host of another namespace",
        Wrong.SEMANTICS,
        Read.CATALOG,
        entry(GOOD_SPEC, metadata="name: reviews, namespace: shop"),
        "cannot use FILE:5: ServiceEntry shop/reviews: spec.hosts[0]: ",
        "set metadata.namespace: default",
    ),
    bad(
        "a ServiceEntry accepts a host's certificate as a workload's",
        Wrong.SEMANTICS,
        Read.CATALOG,
        entry(GOOD_SPEC + "    subjectAltNames: [spiffe://mesh.internal/hostmesh/host/7f3a]\n"),
        "cannot use FILE:8: ServiceEntry default/reviews: spec.subjectAltNames: ",
        "is reserved for hosts",
    ),
    bad(
        "a WorkloadEntry has a name where its address belongs",
        Wrong.SEMANTICS,
        Read.CATALOG,
        """\
        apiVersion: networking.istio.io/v1
        kind: WorkloadEntry
        metadata: {name: r1}
        spec: {address: reviews-1.example.net}
        """,
        "cannot use FILE:4: WorkloadEntry default/r1: spec.address: ",
        "is no IP address",
    ),
]
