"""`reload` looks at the apps of what is new, as `join` does, before it touches anything."""

import json

from hostmesh_ctl.demo.hosts import Lab, program
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, start_app, start_module

WEB = "{name: web, port: 8080, protocol: http}"
MAIL = "{name: mail, port: 2525}"
FILE = "/etc/hostmesh/agent.yaml"
TOKEN = ["--service-account", "web", "--service", "web", "--service", "mail"]


def test_a_reload_stops_at_what_callers_of_a_new_service_would_notice(lab: Lab) -> None:
    mesh = LabMesh(lab)
    host = mesh.host("server")
    start_app(host, "http", "web", 8080)
    start_module(host, "mail", ["hostmesh_testing.lab_apps.greeter", "2525"])
    mesh.join(host, [WEB], token=TOKEN)
    mesh.wait_meshed("web", 1)
    capture = host.path("/var/lib/hostmesh/default/capture.json")
    before = capture.read_bytes()

    def reload(*words: str) -> tuple[int, str, str]:
        argv = [program("hostmesh-agent"), "reload", *words]
        done = host.run(argv, check=False, timeout=120)
        return done.returncode, done.stdout, done.stderr

    host.write(FILE, agent_yaml([WEB, MAIL]))
    status, _, said = reload()
    assert status == 2
    assert "cannot reload without breaking callers; nothing was changed" in said
    assert "stops speaks-first:mail" in said
    assert said.rstrip().endswith("--accept speaks-first:mail")
    status, _, said = reload("--accept", "speak-first")
    assert (status, "did you mean" in said) == (2, True), said
    assert capture.read_bytes() == before
    status, out, said = reload("--accept", "speaks-first:mail", "--output", "json")
    assert status == 0, said
    (found,) = json.loads(out)["findings"]
    assert (found["finding"], found["service"]) == ("speaks-first", "mail")
    assert b"2525" in capture.read_bytes()
    # What runs like this already is not looked at again, and asks for no word.
    status, out, said = reload("--output", "json")
    assert (status, json.loads(out)["findings"]) == (0, []), said
