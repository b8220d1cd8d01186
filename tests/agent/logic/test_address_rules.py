import pytest

from hostmesh_agent.logic import address_rules
from hostmesh_agent.logic.address_rules import AddressRule

HBA = """\
# TYPE  DATABASE  USER  ADDRESS  METHOD
local   all       all            peer
host    all       all   127.0.0.1/32  scram-sha-256
host    all       all   ::1/128  scram-sha-256
host    all       all   0.0.0.0/0  scram-sha-256
"""


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        pytest.param("", False, id="everybody, and loopback itself"),
        pytest.param("hostssl app app 10.0.0.0/8 md5", True, id="a network"),
        pytest.param("host app app 127.0.0.0/8 trust", True, id="a loopback that 127.0.0.6 is in"),
        pytest.param("host app app samenet md5", True, id="the own network"),
        pytest.param("hostnossl app app all md5", False, id="all"),
    ],
)
def test_postgres(line: str, *, counts: bool) -> None:
    found = address_rules.postgres(HBA + line, "/pg_hba.conf")
    assert found == (
        [AddressRule("PostgreSQL", "/pg_hba.conf:6", " ".join(line.split()))] if counts else []
    )


def test_where_postgres_has_its_rules() -> None:
    text = "# hba_file = 'not this'\nhba_file = '/etc/postgresql/15/main/pg_hba.conf' # here\n"
    assert address_rules.postgres_hba_file(text) == "/etc/postgresql/15/main/pg_hba.conf"
    assert address_rules.postgres_hba_file("port = 5432\n") == ""


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        pytest.param("location /in { allow 10.0.0.0/8; deny all; }", True, id="allow"),
        pytest.param("    deny 192.0.2.7;", True, id="deny"),
        pytest.param("location ~ /\\.ht { deny all; }", False, id="nobody at all"),
        pytest.param("# allow 10.0.0.0/8;", False, id="a comment"),
        pytest.param("add_header Allow GET;", False, id="a header of that name"),
        pytest.param(
            "limit_req_zone $binary_remote_addr zone=a:10m rate=1r/s;",
            True,
            id="a limit per caller",
        ),
        pytest.param("geo $remote_addr $inside { default 0; }", True, id="geo"),
    ],
)
def test_nginx(line: str, *, counts: bool) -> None:
    found = address_rules.nginx(f"server {{\n{line}\n}}\n", "/n.conf")
    assert [rule.where for rule in found] == (["/n.conf:2"] if counts else [])


def test_what_nginx_includes() -> None:
    text = "include mime.types;\nhttp { include /etc/nginx/conf.d/*.conf; }\n# include no;\n"
    assert address_rules.nginx_includes(text) == ["mime.types", "/etc/nginx/conf.d/*.conf"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        pytest.param("mynetworks = 127.0.0.0/8 10.0.0.0/8\n", "main.cf:1", id="stated"),
        pytest.param("myhostname = mx\n", "main.cf", id="by default"),
    ],
)
def test_postfix_always_judges(text: str, where: str) -> None:
    (rule,) = address_rules.postfix(text, "main.cf")
    assert rule.where == where


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        pytest.param("bind 0.0.0.0\n", True, id="by default"),
        pytest.param("protected-mode yes\n", True, id="on"),
        pytest.param("protected-mode no\n", False, id="off"),
        pytest.param("requirepass secret\n", False, id="a password decides"),
        pytest.param("# requirepass secret\n", True, id="no password"),
    ],
)
def test_redis(text: str, *, counts: bool) -> None:
    assert bool(address_rules.redis(text, "redis.conf")) is counts


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        pytest.param(b"*2\r\n$14\r\nprotected-mode\r\n$3\r\nyes\r\n", True, id="on"),
        pytest.param(b"*2\r\n$14\r\nprotected-mode\r\n$2\r\nno\r\n", False, id="off"),
        pytest.param(b"-NOAUTH Authentication required.\r\n", False, id="a password decides"),
        pytest.param(b"-ERR unknown command\r\n", None, id="renamed"),
        pytest.param(b"", None, id="silent"),
    ],
)
def test_what_a_redis_says_of_itself(answer: bytes, *, counts: bool | None) -> None:
    found = address_rules.redis_answer(answer)
    assert (None if found is None else bool(found)) is counts


def test_no_secret_is_in_a_rule() -> None:
    (rule,) = address_rules.redis("protected-mode yes\nmasterauth hush\n", "redis.conf")
    assert "hush" not in str(rule)


def test_what_cannot_be_read_counts_as_a_rule() -> None:
    assert "cannot be read" in str(address_rules.mariadb()[0])
    assert str(address_rules.unreadable("nginx", "/n.conf")[0]) == "/n.conf cannot be read"
