from collections.abc import Sequence
from pathlib import Path

import pytest

from hostmesh_agent.redirector import ssh
from hostmesh_agent.redirector.kernel import CannotRun
from hostmesh_agent.redirector.ssh import Socket, SshPorts


class FakeSshd:
    """Answers `sshd -T`, or fails as one without a host key does."""

    def __init__(self, said: str | None, *, installed: bool = True) -> None:
        self.said = said
        self.installed = installed
        self.asked = 0

    def has(self, program: str) -> bool:
        return program == "sshd" and self.installed

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        assert (list(argv), stdin) == (["sshd", "-T"], "")
        self.asked += 1
        if self.said is None:
            raise CannotRun("cannot run sshd -T: status 1: no hostkeys available")
        return self.said


def _file(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        pytest.param(["port 22"], {22}, id="one port"),
        pytest.param(["port 22", "port 2222"], {22, 2222}, id="two"),
        pytest.param(["listenaddress 10.0.0.1:2200"], {2200}, id="an address"),
        pytest.param(["listenaddress [::]:2201"], {2201}, id="an IPv6 address"),
        pytest.param(["Port 2022 # ours"], {2022}, id="as in the file"),
        pytest.param(["Port=2022"], {2022}, id="with an equals sign"),
        pytest.param(["listenaddress 0.0.0.0", "#Port 5", "permitrootlogin no"], set(), id="none"),
    ],
)
def test_what_sshd_says(lines: list[str], ports: set[int]) -> None:
    assert ssh.ports_of_sshd(lines) == ports


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        pytest.param(["[Socket]", "ListenStream=22"], {22}, id="a port"),
        pytest.param(["ListenStream=", "ListenStream=2222"], {2222}, id="after a reset"),
        pytest.param(["ListenStream = 0.0.0.0:2200"], {2200}, id="an address"),
        pytest.param(["ListenStream=[::]:2201"], {2201}, id="an IPv6 address"),
        pytest.param(["ListenStream=/run/ssh.sock", "ListenStream=vsock::22"], set(), id="no TCP"),
    ],
)
def test_what_a_socket_unit_says(lines: list[str], ports: set[int]) -> None:
    assert ssh.ports_of_unit(lines) == ports


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param(
            "   0: 00000000:0016 00000000:0000 0A 0:0 0:0 0 0 0 4711 1",
            Socket(22, loopback=False, state="0A", uid=0, inode=4711),
            id="IPv4, everywhere",
        ),
        pytest.param(
            "   1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 1000 0 12 1",
            Socket(8080, loopback=True, state="0A", uid=1000, inode=12),
            id="IPv4 loopback",
        ),
        pytest.param(
            "   2: 00000000000000000000000001000000:0016 0:0 0A 0:0 0:0 0 0 0 13 1",
            Socket(22, loopback=True, state="0A", uid=0, inode=13),
            id="IPv6 loopback",
        ),
        pytest.param(
            "   3: 000080FE000000000000000000000001:0016 0:0 01 0:0 0:0 0 0 0 14 1",
            Socket(22, loopback=False, state="01", uid=0, inode=14),
            id="an IPv6 session",
        ),
        pytest.param("  sl  local_address rem_address   st tx_queue", None, id="the heading"),
    ],
)
def test_lines_of_proc_net_tcp(line: str, found: Socket | None) -> None:
    assert ssh.parse_socket(line) == found


def test_all_sources_are_added_up(tmp_path: Path) -> None:
    _file(tmp_path, "usr/lib/systemd/system/ssh.socket", "[Socket]\nListenStream=22\n")
    _file(tmp_path, "etc/systemd/system/ssh.socket.d/x.conf", "[Socket]\nListenStream=2300\n")
    never = SshPorts(FakeSshd("port 2200\n"), str(tmp_path)).find()
    assert never.inbound == never.outbound == {22, 2200, 2300}


def test_without_any_sshd_22_stays(tmp_path: Path) -> None:
    assert SshPorts(FakeSshd("", installed=False), str(tmp_path)).find().inbound == {22}


def test_where_sshd_cannot_say_its_files_do(tmp_path: Path) -> None:
    _file(tmp_path, "etc/ssh/sshd_config", "Port 2222\n#Port 1\n")
    _file(tmp_path, "etc/ssh/sshd_config.d/a.conf", "Port 2223\n")
    assert SshPorts(FakeSshd(None), str(tmp_path)).find().inbound == {22, 2222, 2223}


def test_sshd_is_asked_again_only_when_a_file_changed(tmp_path: Path) -> None:
    _file(tmp_path, "etc/ssh/sshd_config", "Port 2222\n")
    sshd = FakeSshd("port 2222\n")
    ports = SshPorts(sshd, str(tmp_path))
    ports.find()
    ports.find()
    assert sshd.asked == 1
    _file(tmp_path, "etc/ssh/sshd_config.d/a.conf", "Port 2223\n")
    sshd.said = "port 2222\nport 2223\n"
    assert ports.find().inbound == {22, 2222, 2223}
    assert sshd.asked == 2


def _process(root: Path, pid: int, name: str, exe: str, inodes: list[int]) -> None:
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    program = root / exe
    program.parent.mkdir(parents=True, exist_ok=True)
    program.touch()
    (folder / "exe").symlink_to(program)
    for number, inode in enumerate(inodes):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


def _sockets(root: Path, *lines: tuple[int, str, int, int, str]) -> None:
    """(port, address in hex, uid, inode, state)."""
    text = ["heading"] + [
        f"0: {address}:{port:04X} 00000000:0000 {state} 0:0 0:0 0 {uid} 0 {inode} 1"
        for port, address, uid, inode, state in lines
    ]
    _file(root, "proc/net/tcp", "\n".join(text) + "\n")


ANY, LOOPBACK = "00000000", "0100007F"


def test_sockets_of_sshd_count_and_a_users_tricks_do_not(tmp_path: Path) -> None:
    _process(tmp_path, 10, "sshd", "usr/sbin/sshd", [1, 2, 3, 6])
    _process(tmp_path, 11, "nginx", "usr/sbin/nginx", [4])
    _process(tmp_path, 12, "sshd", "home/user/server", [5])
    _sockets(
        tmp_path,
        (2222, ANY, 0, 1, "0A"),  # a listener that no file names
        (8080, LOOPBACK, 1000, 2, "0A"),  # a user's `ssh -R`
        (2022, ANY, 0, 3, "01"),  # a session whose listener has gone
        (80, ANY, 0, 4, "0A"),  # nginx
        (5432, ANY, 1000, 5, "0A"),  # a process that calls itself sshd
        (9090, LOOPBACK, 1000, 6, "01"),  # a connection that a user forwards
    )
    never = SshPorts(FakeSshd("", installed=False), str(tmp_path)).find()
    assert never.inbound == {22, 2222, 2022}
    assert never.outbound == {22, 2222}


def test_the_kernels_list_is_read_when_sshds_sockets_changed_and_now_and_then(
    tmp_path: Path,
) -> None:
    ports = SshPorts(FakeSshd("", installed=False), str(tmp_path))
    _sockets(tmp_path, (2222, ANY, 0, 1, "07"))  # bound, and does not listen yet
    _process(tmp_path, 10, "sshd", "usr/sbin/sshd", [1])
    assert ports.find().inbound == {22}
    _sockets(tmp_path, (2222, ANY, 0, 1, "0A"))
    looks = [2222 in ports.find().inbound for _ in range(ssh.LOOKS_AGAIN)]
    assert looks == [False] * (ssh.LOOKS_AGAIN - 1) + [True]
    _sockets(tmp_path, (2222, ANY, 0, 1, "0A"), (2223, ANY, 0, 2, "0A"))
    _process(tmp_path, 11, "sshd", "usr/sbin/sshd", [2])
    assert ports.find().inbound == {22, 2222, 2223}
    (tmp_path / "proc/10/comm").write_text("gone")
    (tmp_path / "proc/11/comm").write_text("gone")
    assert ports.find().inbound == {22}
