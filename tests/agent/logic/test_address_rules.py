import pytest

from hostmesh_agent.logic import address_rules
from hostmesh_agent.logic.seen_source import SeenSource

HBA = """\
# TYPE  DATABASE  USER  ADDRESS  METHOD
local   all       all            peer
host    all       all   127.0.0.1/32  scram-sha-256
host    all       all   ::1/128  scram-sha-256
host    all       all   0.0.0.0/0  scram-sha-256
"""


BOUND = SeenSource("127.0.0.6 (::6)", frozenset({"127.0.0.6", "::6"}))
LOOPBACK = SeenSource("127.0.0.1", frozenset({"127.0.0.1"}))
OWN = SeenSource("this host's own address", frozenset({"10.0.0.4", "fd00::4"}))


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        pytest.param("", False, id="everybody, and loopback itself"),
        pytest.param("hostssl app app 10.0.0.0/8 md5", True, id="a network"),
        pytest.param("host app app 127.0.0.0/8 trust", True, id="a loopback that 127.0.0.6 is in"),
        pytest.param("host app app samenet md5", True, id="the own network"),
        pytest.param("hostnossl app app all md5", False, id="all"),
        pytest.param("host app app 0.0.0.0 0.0.0.0 md5", False, id="everybody, with a mask"),
        pytest.param("host app app 10.0.0.0 255.0.0.0 md5", True, id="a network with a mask"),
        pytest.param("host app app localhost md5", False, id="loopback by its name"),
    ],
)
def test_postgres(line: str, *, counts: bool) -> None:
    found = address_rules.postgres(HBA + line, "/pg_hba.conf", BOUND)
    assert [(rule.where, rule.text) for rule in found] == (
        [("/pg_hba.conf:6", " ".join(line.split()))] if counts else []
    )


@pytest.mark.parametrize(
    ("address", "source", "local"),
    [
        pytest.param("127.0.0.1/32", LOOPBACK, True, id="loopback, and Envoy calls from there"),
        pytest.param("127.0.0.1 255.255.255.255", LOOPBACK, True, id="with a mask"),
        pytest.param("localhost", LOOPBACK, True, id="loopback's name"),
        pytest.param("127.0.0.0/8", LOOPBACK, True, id="the whole of loopback"),
        pytest.param("127.0.0.0/8", BOUND, True, id="the whole of loopback holds 127.0.0.6"),
        pytest.param("::1/128", LOOPBACK, None, id="the other family's loopback"),
        pytest.param("127.0.0.1/32", BOUND, None, id="loopback, and Envoy calls from elsewhere"),
        pytest.param("127.0.0.1/32", OWN, None, id="loopback, and Envoy calls as this host"),
        pytest.param("samehost", OWN, True, id="this host's addresses"),
        pytest.param("samehost", LOOPBACK, True, id="of which loopback is one"),
        pytest.param("samehost", BOUND, True, id="and ::6"),
        pytest.param("10.0.0.4/32", OWN, True, id="the very address of this host"),
        pytest.param("10.0.0.0/8", OWN, False, id="a network means others too"),
        pytest.param("db1.example.org", OWN, False, id="a name"),
    ],
)
def test_what_lets_this_host_itself_in(address: str, source: SeenSource, local: object) -> None:
    text = f"host all all {address} trust\n"
    found = address_rules.postgres(text, "/pg_hba.conf", source)
    assert [rule.local for rule in found] == ([] if local is None else [local])


@pytest.mark.parametrize("line", ["include a.conf", "include_if_exists a", "include_dir 'hba.d'"])
def test_what_postgres_includes_may_hold_rules(line: str) -> None:
    (rule,) = address_rules.postgres(HBA + line, "/pg_hba.conf", BOUND)
    assert (rule.where, rule.text) == ("/pg_hba.conf:6", f"{line} (which is not read here)")


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
        pytest.param("limit_conn_zone ${remote_addr}x zone=a:10m;", True, id="a name in braces"),
        pytest.param("geo $remote_addr $inside { default 0; }", True, id="geo"),
        pytest.param("geo $inside {\ndefault 0;\n10.0.0.0/8 1;\n}", True, id="geo as it is usual"),
        pytest.param("geo $arg_ip $inside { default 0; }", False, id="geo of something else"),
        pytest.param("map $binary_remote_addr $x { default 0; }", True, id="map"),
        pytest.param("if ($remote_addr !~ ^10\\.) { return 403; }", True, id="if"),
        pytest.param("if ($request_method = POST) { return 403; }", False, id="if of other things"),
        pytest.param("allow\n  10.0.0.0/8;", True, id="allow over two lines"),
        pytest.param("log_format a '$remote_addr; allow 10.0.0.0/8;';", False, id="in a string"),
        pytest.param("return 200 it's; allow 10.0.0.0/8; # it's", True, id="an apostrophe"),
    ],
)
def test_nginx(line: str, *, counts: bool) -> None:
    found = address_rules.nginx(f"server {{\n{line}\n}}\n", "/n.conf", BOUND)
    assert [rule.where for rule in found] == (["/n.conf:2"] if counts else [])


@pytest.mark.parametrize(
    ("line", "source", "local"),
    [
        pytest.param("allow 127.0.0.1;", LOOPBACK, True, id="loopback, and Envoy is there"),
        pytest.param("allow 127.0.0.1;", BOUND, False, id="loopback, and Envoy is elsewhere"),
        pytest.param("deny 127.0.0.1;", LOOPBACK, False, id="kept out"),
    ],
)
def test_what_lets_this_host_into_nginx(line: str, source: SeenSource, *, local: bool) -> None:
    (rule,) = address_rules.nginx(line, "/n.conf", source)
    assert rule.local is local


def test_an_apostrophe_in_a_block_of_lua_hides_nothing() -> None:
    text = "init_by_lua_block { -- don't\n}\nserver { allow 10.0.0.0/8; }\n"
    assert [rule.where for rule in address_rules.nginx(text, "/n.conf", BOUND)] == ["/n.conf:3"]


def test_what_nginx_includes() -> None:
    text = "include mime.types;\nhttp { include\n '/etc/nginx/conf.d/*.conf'; }\n# include no;\n"
    assert address_rules.nginx_includes(text) == ["mime.types", "/etc/nginx/conf.d/*.conf"]


@pytest.mark.parametrize(
    ("text", "where", "source", "local"),
    [
        pytest.param(
            "mynetworks = 127.0.0.0/8, [::1]/128", "main.cf:1", LOOPBACK, True, id="loopback"
        ),
        pytest.param("mynetworks = 127.0.0.0/8 10.0.0.0/8", "main.cf:1", OWN, False, id="stated"),
        pytest.param("myhostname = mx", "main.cf", OWN, True, id="by default"),
    ],
)
def test_postfix_always_judges(text: str, where: str, source: SeenSource, *, local: bool) -> None:
    (rule,) = address_rules.postfix(text, "main.cf", source)
    assert (rule.where, rule.local) == (where, local)


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
    for source in (OWN, LOOPBACK):
        found = address_rules.redis(text, "redis.conf", source)
        assert [rule.local for rule in found] == ([source is LOOPBACK] if counts else [])


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
    found = address_rules.redis_answer(answer, LOOPBACK)
    assert (None if found is None else [rule.local for rule in found]) == (
        [True] if counts else None if counts is None else []
    )


def test_no_secret_is_in_a_rule() -> None:
    (rule,) = address_rules.redis("protected-mode yes\nmasterauth hush\n", "redis.conf", OWN)
    assert "hush" not in str(rule)


def test_what_cannot_be_read_counts_as_a_rule() -> None:
    assert "cannot be read" in str(address_rules.mariadb()[0])
    assert str(address_rules.unreadable("nginx", "/n.conf")[0]) == "/n.conf cannot be read"
