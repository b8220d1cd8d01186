"""Finds a real Consul, or takes Debian's package without touching the machine's own apt sources.

The order: CONSUL_BIN, PATH, the cache, Debian bullseye (the last release that has the package) from
the mirror that this machine is configured with, the mirror named in HOSTMESH_ARCHIVE_MIRROR.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from hostmesh_core.errors import HostmeshError
from hostmesh_ctl.demo import commands

SUITE = "bullseye"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DOWNLOAD_MEGABYTES = 22
"""The package (14 MB) and the suite's package list (8 MB)."""
APT_SECONDS = 300.0

Say = Callable[[str], None]


class ConsulMissing(HostmeshError):
    """No way led to a Consul; the text names every way to bring one."""


WAYS = (
    "bring one in one of three ways: install it so that `consul` is on PATH; "
    "or CONSUL_BIN=/path/to/consul; "
    "or HOSTMESH_ARCHIVE_MIRROR=URL of a Debian archive mirror that still has bullseye"
)


def cache_dir(env: Mapping[str, str]) -> Path:
    """Give the folder that keeps the binary between runs."""
    base = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME") or "/root") / ".cache")
    return Path(base) / "hostmesh"


def present(env: Mapping[str, str]) -> Path | None:
    """Give a Consul that needs no download. Raises ConsulMissing if CONSUL_BIN is not one."""
    named = env.get("CONSUL_BIN", "")
    if named:
        return _checked(Path(named), "CONSUL_BIN")
    on_path = shutil.which("consul", path=env.get("PATH"))
    if on_path:
        return Path(on_path)
    cached = _cached(env)
    return cached if os.access(cached, os.X_OK) else None


def find(env: Mapping[str, str], say: Say) -> Path:
    """Give a Consul, downloading it if need be. Raises ConsulMissing."""
    found = present(env)
    if found is not None:
        return found
    mirrors = [(mirror, True) for mirror in configured_mirrors()]
    archive = env.get("HOSTMESH_ARCHIVE_MIRROR", "")
    mirrors += [(archive, False)] if archive else []
    reasons = []
    for mirror, fresh in mirrors:
        whose = "this machine's Debian mirror" if fresh else "HOSTMESH_ARCHIVE_MIRROR"
        say(f"Consul: downloading Debian's package from {whose} (about {DOWNLOAD_MEGABYTES} MB)")
        try:
            return download(mirror, _cached(env), fresh=fresh)
        except HostmeshError as error:
            reasons.append(f"{whose}: {str(error).replace(mirror, 'its address')[-300:]}")
    because = "; ".join(reasons) or "this machine has no Debian mirror configured"
    raise ConsulMissing(f"cannot find a Consul ({because}); {WAYS}")


def binaries(env: Mapping[str, str], say: Say) -> list[Path]:
    """Give every Consul to test with: CONSUL_BINS (separated by colons), else the one found."""
    named = [text for text in env.get("CONSUL_BINS", "").split(":") if text]
    if named:
        return [_checked(Path(text), "CONSUL_BINS") for text in named]
    return [find(env, say)]


def configured_mirrors() -> list[str]:
    """Give the addresses of Debian mirrors in this machine's apt sources, each once."""
    if shutil.which("apt-get") is None:
        return []
    form = "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)"
    done = commands.run(["apt-get", "indextargets", "--format", form], check=False)
    return mirrors_in(done.stdout)


def mirrors_in(listing: str) -> list[str]:
    """Read apt's list of targets: only Debian's main, not security, updates or other vendors'."""
    found: list[str] = []
    for line in listing.splitlines():
        origin, release, component, address = ([*line.split("|", 3), "", "", ""])[:4]
        plain = re.fullmatch(r"[a-z]+", release) is not None
        # Without a first `apt-get update` apt does not know the origin yet.
        if origin in {"Debian", ""} and plain and component == "main" and address not in found:
            found.append(address)
    return found


def download(mirror: str, target: Path, *, fresh: bool) -> Path:
    """Take the package from `mirror` with apt in folders of its own. Raises CommandFailed.

    `fresh` = the mirror must still keep the suite's dates; an archive cannot. Signatures always
    count.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="consul-", dir=target.parent) as name:
        folder = Path(name)
        for each in ("sources", "lists/partial", "cache/archives/partial", "root"):
            (folder / each).mkdir(parents=True)
        (folder / "sources/consul.sources").write_text(
            f"Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\nSigned-By: {KEYRING}\n"
        )
        apt = ["apt-get", "-q", *apt_options(folder, fresh=fresh)]
        commands.run([*apt, "update"], timeout=APT_SECONDS)
        # apt-get download writes into the working folder; env's -C spares us a chdir.
        commands.run(["env", "-C", name, *apt, "download", "consul"], timeout=APT_SECONDS)
        packages = [str(path) for path in folder.glob("consul_*.deb")]
        commands.run(["dpkg-deb", "-x", *packages[:1], str(folder / "root")])
        binary = folder / "root/usr/bin/consul"
        commands.run([str(binary), "version"])
        binary.chmod(0o755)
        binary.replace(target)
    return target


def apt_options(folder: Path, *, fresh: bool) -> list[str]:
    """Point apt at `folder` for everything that it reads of sources and all that it writes."""
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": f"{folder}/sources",
        "Dir::State::Lists": f"{folder}/lists",
        "Dir::Cache": f"{folder}/cache",
        "APT::Sandbox::User": "root",  # _apt cannot enter a private folder
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::AllowReleaseInfoChange": "true",
        "APT::Update::Error-Mode": "any",  # a mirror that is away must not look like an empty one
    }
    if not fresh:
        settings["Acquire::Check-Valid-Until"] = "false"
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def _cached(env: Mapping[str, str]) -> Path:
    return cache_dir(env) / f"consul-{SUITE}"


def _checked(path: Path, variable: str) -> Path:
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ConsulMissing(f"cannot use {variable}: {path} is not an executable file")
    return path
