"""Machines and archives for tests: LXC containers, btrfs, hostile members."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import programs

NAME = "infra1-utility-container-cbd7b73e"
#: A container whose only process is its init, in a network of its own. With
#: lxc.net.0.type = none it would configure the network of the host.
_CONFIG = """\
lxc.rootfs.path = {scheme}:{path}
lxc.uts.name = {name}
lxc.net.0.type = empty
lxc.autodev = 1
lxc.pty.max = 1
lxc.tty.max = 1
lxc.mount.auto = proc:mixed sys:ro
lxc.signal.halt = SIGUSR1
lxc.mount.entry = {store}/shared srv/shared none bind,optional,create=dir 0 0
"""


def make_root(root: Path) -> None:
    """Make a root file system with a busybox that can be an init."""
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "var/log/app"):
        (root / folder).mkdir(parents=True)
    busybox = root / "bin/busybox"
    busybox.write_bytes(Path("/bin/busybox").read_bytes())
    busybox.chmod(0o755)
    (root / "sbin").symlink_to("bin")
    for applet in ("init", "sh", "sleep", "cat", "nc", "httpd"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/inittab").write_text("::ctrlaltdel:/bin/true\n")
    (root / "etc/os-release").write_text('ID=bb\nVERSION_ID="1"\n')
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/machine-id").write_text("0123456789abcdef" * 2 + "\n")
    (root / "var/log/app/messages").write_text("log\n")


def container(
    store: Path, name: str = NAME, *, scheme: str = "dir", path: str = ""
) -> Path:
    """Define an LXC container with a root in a directory; the root."""
    folder = store / name
    folder.mkdir(parents=True, exist_ok=True)
    (store / "shared").mkdir(exist_ok=True)
    root = folder / "rootfs"
    (folder / "config").write_text(
        _CONFIG.format(
            scheme=scheme, path=path or root, name=name, store=store
        )
    )
    if not path:
        make_root(root)
    return root


@contextlib.contextmanager
def started(store: Path) -> Iterator[None]:
    """An LXC container that runs in the block."""
    programs.run("lxc-start", "-P", store, "-n", NAME, "-d")
    try:
        running = ("-s", "RUNNING", "-t", "60")
        programs.run("lxc-wait", "-P", store, "-n", NAME, *running)
        yield
    finally:
        programs.run("lxc-stop", "-P", store, "-n", NAME, "-k")


@contextlib.contextmanager
def btrfs(directory: Path) -> Iterator[Path]:
    """A btrfs file system, mounted below a directory."""
    image, pool = directory / "pool.img", directory / "pool"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    pool.mkdir()
    programs.run("mkfs.btrfs", "-q", image)
    programs.run("mount", "-o", "loop", image, pool)
    try:
        yield pool
    finally:
        # The monitor of a container that was stopped may still hold it.
        programs.run("umount", "-l", pool)


def member(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    content: bytes = b"",
    **fields: object,
) -> tuple[tarfile.TarInfo, bytes]:
    """A member of an archive."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def archive(
    *members: tuple[tarfile.TarInfo, bytes], end: bool = True
) -> bytes:
    """An archive of these members, whatever they are."""
    content = b"".join(
        info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        + data
        + bytes(-len(data) % 512)
        for info, data in members
    )
    return content + bytes(1024) if end else content


ROOT = member(".", tarfile.DIRTYPE)


def _changed(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def _with_size(kind: bytes) -> bytes:
    """A member that is no file, and says that it has content."""
    info, _ = member("x", kind)
    info.size = 512
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"00000001000\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512)


def hostile() -> dict[str, tuple[bytes, str]]:
    """Archives that no machine may be made from, and what is said of each."""
    link = member("etc", tarfile.SYMTYPE, linkname="/etc")
    plain = archive(ROOT, member("a", content=b"content"))
    bomb = b"".join(
        archive(member(f"f{n}", content=bytes(1 << 20)), end=False)
        for n in range(3)
    )
    return {
        "member through a link": (
            archive(ROOT, link, member("etc/passwd")),
            "is below something that is not a directory",
        ),
        "link through a link": (
            archive(
                ROOT, link, member("x", tarfile.LNKTYPE, linkname="etc/passwd")
            ),
            "is a hard link to a file that does not precede it",
        ),
        "parent": (archive(ROOT, member("../x")), "leaves the root"),
        "parent inside": (
            archive(ROOT, member("a/../../x")),
            "leaves the root",
        ),
        "absolute": (archive(ROOT, member("/x")), "has an absolute name"),
        "root is a link": (
            archive(member(".", tarfile.SYMTYPE, linkname="/")),
            "the root is not a directory",
        ),
        "root is a link later": (
            archive(ROOT, member("./", tarfile.SYMTYPE, linkname="/")),
            "the root is not a directory",
        ),
        "root is a file": (
            archive(member(".", content=b"x")),
            "the root is not a directory",
        ),
        "block device": (
            archive(ROOT, member("disk", tarfile.BLKTYPE, devmajor=8)),
            "is a device",
        ),
        "character device": (
            archive(ROOT, member("srv/dev/mem", tarfile.CHRTYPE, devmajor=1)),
            "is a device",
        ),
        "set-user-id": (
            archive(ROOT, member("usr/bin/helper", mode=0o4755)),
            "has set-id bits and is not a known program",
        ),
        "set-user-id elsewhere": (
            archive(ROOT, member("home/x/su", mode=0o4755)),
            "has set-id bits and is not a known program",
        ),
        "capabilities": (
            archive(
                ROOT,
                member(
                    "opt/x",
                    pax_headers={"SCHILY.xattr.security.capability": "x"},
                ),
            ),
            "has capabilities and is not a known program",
        ),
        "control characters": (
            archive(ROOT, member("a\x1b[2Jb")),
            "has control characters in its name",
        ),
        "line break": (
            archive(ROOT, member("a\nb")),
            "has control characters in its name",
        ),
        "replaced by a link": (
            archive(
                ROOT,
                member("d", tarfile.DIRTYPE),
                member("d", tarfile.SYMTYPE, linkname="/"),
                member("d/x"),
            ),
            "is in the archive twice",
        ),
        "hard link outside": (
            archive(
                ROOT, member("x", tarfile.LNKTYPE, linkname="../../etc/shadow")
            ),
            "leaves the root",
        ),
        "path of a pax header": (
            archive(ROOT, member("x", pax_headers={"path": "../x"})),
            "leaves the root",
        ),
        "name of a sparse file": (
            archive(
                ROOT, member("x", pax_headers={"GNU.sparse.name": "../x"})
            ),
            "leaves the root",
        ),
        "global header": (
            tarfile.TarInfo.create_pax_global_header({"path": "../x"})
            + archive(ROOT),
            "has a global header",
        ),
        "content of a directory": (
            archive(ROOT, end=False)
            + _with_size(tarfile.DIRTYPE)
            + bytes(1024),
            "has content and is not a file",
        ),
        "unknown type": (
            archive(ROOT, member("x", b"V")),
            "is of the unknown type 'V'",
        ),
        "wrong checksum": (
            _changed(plain, 513, b"x"),
            "has a header with a wrong checksum",
        ),
        "cut short": (plain[:-1024], "is cut short"),
        "cut inside": (plain[:1100], "is cut short"),
        "one zero block": (
            _changed(plain + plain, len(plain) - 512, plain[:512]),
            "is not properly terminated",
        ),
        "content behind": (plain + plain, "has content after its end"),
        "too large": (bomb + bytes(1024), "has files of more than"),
        "attributes of an overlay": (
            archive(
                ROOT,
                member(
                    "x",
                    tarfile.DIRTYPE,
                    pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/"},
                ),
            ),
            "has attributes of an overlay file system",
        ),
        "empty": (bytes(10240), "is empty"),
        "no archive": (b"text " * 300, "is not a tar archive"),
    }


def members_of(content: bytes) -> dict[str, tarfile.TarInfo]:
    """The members of an archive by their names."""
    with tarfile.open(fileobj=io.BytesIO(content)) as file:
        return {info.name: info for info in file}


def tree(directory: Path, names: Sequence[str]) -> None:
    """Make empty files at these paths."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
