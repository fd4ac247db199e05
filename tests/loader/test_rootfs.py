from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.guest.rootfs import SKELETON, BadRootfs, Node, Rootfs, init_block

LIMIT = 1 << 20


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: m for m in tar}


def write_tar(path: Path, *infos: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, mode
    return info


def test_a_directory_becomes_a_gnu_tar(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/motd").write_bytes(b"hi\n")
    os.link(tmp_path / "etc/motd", tmp_path / "etc/issue")
    (tmp_path / "bin").symlink_to("etc")
    long = "d" * 80 + "/" + "f" * 120
    (tmp_path / long).parent.mkdir()
    (tmp_path / long).write_bytes(b"long")
    data = Rootfs.read(tmp_path, LIMIT).to_tar()
    assert data[257:265] == b"ustar  \0"
    found = members(data)
    assert set(found) == {".", "bin", "etc", "etc/motd", "etc/issue", "d" * 80, long}
    assert found["bin"].issym()
    assert sorted(found[n].islnk() for n in ("etc/motd", "etc/issue")) == [False, True]
    assert data == Rootfs.read(tmp_path, LIMIT).to_tar()


def test_the_default_has_its_directories() -> None:
    rootfs = Rootfs.default()
    rootfs.complete()
    found = members(rootfs.to_tar())
    assert set(found) == {*SKELETON, "etc/passwd", "etc/group"}
    assert found["tmp"].mode == 0o1777
    assert found["etc/passwd"].mode == 0o644


def test_programs_are_looked_up_through_links(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "r.tar",
        entry("usr/", tarfile.DIRTYPE),
        entry("./usr/bin/", tarfile.DIRTYPE),
        entry("usr/bin/prog", size=3, mode=0o755),
        entry("usr/bin/again", tarfile.LNKTYPE, "usr/bin/prog"),
        entry("bin", tarfile.SYMTYPE, "usr/bin"),
        entry("usr/bin/alias", tarfile.SYMTYPE, "prog"),
        entry("usr/bin/loop", tarfile.SYMTYPE, "loop"),
        entry("usr/bin/deep", tarfile.SYMTYPE, "../../bin/alias"),
    )
    rootfs = Rootfs.read(tar, LIMIT)
    assert rootfs.find("prog") == "/usr/bin/prog"
    for name in ("/bin/prog", "/bin/alias", "/bin/again", "/bin/deep"):
        assert rootfs.find(name) == name
        found = rootfs.lookup(name)
        assert found is not None
        assert found is rootfs.entries["usr/bin/prog"]
    assert rootfs.find("/bin/loop") is None
    assert rootfs.find("/usr/bin") is None
    assert rootfs.find("nothing") is None
    rootfs.add_program("new", b"x")
    assert "usr/bin/new" in rootfs.entries


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (entry("../etc/passwd"), r"\.\."),
        (entry("a/../../b"), r"\.\."),
        (entry("a/.."), r"\.\."),
        (entry("/etc/passwd"), "absolute name"),
        (entry("n" * 256), "longer than Linux allows"),
        (entry("/".join(["d" * 200] * 21)), "longer than Linux allows"),
        (entry("a", tarfile.SYMTYPE, "x" * 4096), "to nowhere, or too long"),
        (entry("a", tarfile.SYMTYPE, ""), "to nowhere"),
        (entry("a", tarfile.LNKTYPE, "/etc/passwd"), "leads out"),
        (entry("a", tarfile.LNKTYPE, "../x"), "leads out"),
        (entry("a", tarfile.LNKTYPE, "missing"), "link to nothing"),
        (entry("a", b"Z"), "no file, directory"),
        (entry("a", size=LIMIT + 512), r"2 MiB of files do not fit into memory, --memory 8M is the least"),
    ],
)
def test_refusals(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    with pytest.raises(BadRootfs, match=message) as caught:
        Rootfs.read(write_tar(tmp_path / "r.tar", info), LIMIT)
    assert str(tmp_path / "r.tar") in str(caught.value)


@pytest.mark.parametrize("first", [entry("a"), entry("b"), entry("a", tarfile.SYMTYPE, "a")])
def test_a_file_cannot_be_a_directory(tmp_path: Path, first: tarfile.TarInfo) -> None:
    second = entry("a/c") if first.name == "a" else entry("b/d/e")
    with pytest.raises(BadRootfs, match=r"no directory|more links"):
        Rootfs.read(write_tar(tmp_path / "r.tar", first, second), LIMIT)


def test_a_directory_cannot_become_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadRootfs, match="a file where a directory is"):
        Rootfs.read(write_tar(tmp_path / "r.tar", entry("a/b"), entry("a")), LIMIT)


def test_absolute_links_stay_inside(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "r.tar",
        entry("./", tarfile.DIRTYPE, mode=0o700),
        entry("bin", tarfile.SYMTYPE, "/usr/bin"),
        entry("out", tarfile.SYMTYPE, "../../../../usr"),
        entry("usr/bin/prog", size=3, mode=0o755),  # its directories are missing
        entry("bin/other", size=4, mode=0o755),  # through a link
        entry("etc/alternatives/sh", tarfile.SYMTYPE, "/out/bin/prog"),
        entry("usr/bin/sh", tarfile.SYMTYPE, "/etc/alternatives/sh"),
        entry("passwd", tarfile.SYMTYPE, "/../../etc/passwd"),
    )
    rootfs = Rootfs.read(tar, LIMIT)
    assert rootfs.entries["."].mode == 0o700
    assert len(rootfs.entries["usr/bin/other"].data) == 4
    assert rootfs.entries["usr"].is_directory
    assert rootfs.lookup("/bin/sh") is rootfs.lookup("/out/bin/../bin/sh") is rootfs.entries["usr/bin/prog"]
    assert rootfs.find("sh") == "/usr/bin/sh"
    assert rootfs.lookup("/passwd") is None
    assert rootfs.resolve("/passwd") == "etc/passwd"


def test_hard_links_stay_links(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "r.tar",
        entry("b", size=5),
        entry("a", tarfile.LNKTYPE, "b"),
        entry("d", tarfile.SYMTYPE, "/"),
        entry("c", tarfile.LNKTYPE, "d/b"),
        entry("s", tarfile.LNKTYPE, "d"),  # of the link itself
        entry("b", size=6),  # another file; the first one keeps its other names
    )
    rootfs = Rootfs.read(tar, LIMIT)
    assert rootfs.entries["a"] is rootfs.entries["c"] is not rootfs.entries["b"]
    assert rootfs.entries["s"] is rootfs.entries["d"]
    found = members(rootfs.to_tar())
    assert (found["a"].size, found["b"].size, found["c"].type, found["c"].linkname) == (5, 6, tarfile.LNKTYPE, "a")
    assert (found["d"].type, found["s"].type, found["s"].linkname) == (tarfile.SYMTYPE, tarfile.LNKTYPE, "d")


def test_numbers_are_kept(tmp_path: Path) -> None:
    infos = [entry(n) for n in ("file", "sticky", "pipe", "char", "block")]
    kinds = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
    for info, kind in zip(infos, kinds, strict=True):
        info.type, info.mode, info.mtime = kind, 0o7751, 1234567890.75
        info.uid, info.gid, info.devmajor, info.devminor = 70000, 3_000_000_000, 4, 300
    path = tmp_path / "r.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info in infos:
            tar.addfile(info)
    found = members(Rootfs.read(path, LIMIT).to_tar())
    for info in infos:
        got = found[info.name]
        assert (got.type, got.mode, got.uid, got.gid, got.mtime) == (
            info.type,
            0o7751,
            70000,
            3_000_000_000,
            1234567890,
        )
        if info.type in {tarfile.CHRTYPE, tarfile.BLKTYPE}:
            assert (got.devmajor, got.devminor) == (4, 300)


@pytest.mark.parametrize("field", [{"uid": "-1"}, {"gid": "99999999999"}, {"mtime": "nan"}, {"mtime": "1e400"}])
def test_numbers_that_are_none(tmp_path: Path, field: dict[str, str]) -> None:
    info = entry("a")
    info.pax_headers = field
    with tarfile.open(tmp_path / "r.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(BadRootfs, match="not a tar"):
        Rootfs.read(tmp_path / "r.tar", LIMIT)


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_sparse_files(tmp_path: Path, style: int) -> None:
    long, target = "/".join(["d" * 90] * 4) + "/é", "t" * 300
    with tarfile.open(tmp_path / "r.tar", "w", format=style) as tar:
        tar.addfile(entry(long, size=3), io.BytesIO(b"abc"))
        tar.addfile(entry("l", tarfile.SYMTYPE, target))
    rootfs = Rootfs.read(tmp_path / "r.tar", LIMIT)
    assert rootfs.entries[long].data == b"abc"
    assert rootfs.entries["l"].target == target
    with (tmp_path / "holes").open("wb") as file:
        file.seek(300_000)
        file.write(b"end")
    form = "gnu" if style == tarfile.GNU_FORMAT else "posix"
    subprocess.run(["tar", "-C", tmp_path, "-S", f"--format={form}", "-cf", tmp_path / "s.tar", "holes"], check=True)
    assert (tmp_path / "s.tar").stat().st_size < 100_000
    assert Rootfs.read(tmp_path / "s.tar", LIMIT).entries["holes"].data == bytes(300_000) + b"end"


@pytest.mark.parametrize("cut", [512, 1024, 1025, 1536, 2047])
def test_an_archive_cut_short(tmp_path: Path, cut: int) -> None:
    """The parts of it are: two headers, one with a block of contents; tarfile itself refuses only a cut inside of contents."""
    whole = write_tar(tmp_path / "r.tar", entry("a", size=10), entry("b", size=10)).read_bytes()
    (tmp_path / "r.tar").write_bytes(whole[:cut])
    with pytest.raises(BadRootfs, match=r"truncated|not a tar"):
        Rootfs.read(tmp_path / "r.tar", LIMIT)


def test_a_damaged_header(tmp_path: Path) -> None:
    whole = bytearray(write_tar(tmp_path / "r.tar", entry("a", size=10), entry("b", size=10)).read_bytes())
    whole[1024] ^= 1
    (tmp_path / "r.tar").write_bytes(whole)
    with pytest.raises(BadRootfs, match="no header at offset 1024"):
        Rootfs.read(tmp_path / "r.tar", LIMIT)


def test_zstd_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.tar").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(BadRootfs, match=r"zstd|not a tar"):
        Rootfs.read(tmp_path / "r.tar", LIMIT)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_and_cut_short(tmp_path: Path, mode: str) -> None:
    whole = write_tar(tmp_path / "r", entry("a", size=70000), mode=mode).read_bytes()
    assert "a" in Rootfs.read(tmp_path / "r", LIMIT).entries
    (tmp_path / "r").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadRootfs, match="not a tar"):
        Rootfs.read(tmp_path / "r", LIMIT)
    if mode == "w:gz":
        (tmp_path / "r").write_bytes(whole[:-6] + b"wrong" + whole[-1:])  # the checksum at its end
        with pytest.raises(BadRootfs, match="not a tar"):
            Rootfs.read(tmp_path / "r", LIMIT)


@pytest.mark.parametrize("kind", [os.mkfifo, Path.touch])
def test_what_is_no_tar(tmp_path: Path, kind: object) -> None:
    assert callable(kind)
    kind(tmp_path / "r")
    if kind is os.mkfifo:
        with pytest.raises(BadRootfs, match="neither"):
            Rootfs.read(tmp_path / "r", LIMIT)
    else:
        with pytest.raises(BadRootfs, match="not a tar"):
            Rootfs.read(tmp_path / "r", LIMIT)


def test_what_a_directory_can_hold(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    rootfs = Rootfs.read(tmp_path, LIMIT)
    assert set(rootfs.entries) == {".", "pipe"}
    assert rootfs.entries["pipe"].kind == tarfile.FIFOTYPE
    assert rootfs.left_out == [f"socket: {tmp_path / 'socket'}"]


@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/sys"])
def test_file_systems_that_the_kernel_makes_up(path: str) -> None:
    with pytest.raises(BadRootfs, match=r"a (proc|sysfs) file system cannot be a rootfs"):
        Rootfs.read(path, LIMIT)


def test_a_mount_inside_is_refused() -> None:
    with pytest.raises(BadRootfs, match=r"another file system|do not fit"):
        Rootfs.read("/", 1 << 30)


def test_a_mounted_tree_takes_the_place_of_what_was_there() -> None:
    rootfs = Rootfs()
    rootfs.add("srv/old", Node(tarfile.REGTYPE))
    rootfs.add("data", Node(tarfile.SYMTYPE, target="/srv"))
    tree = [(".", Node(tarfile.DIRTYPE, 0o700)), ("a", Node(tarfile.REGTYPE)), ("b", Node(tarfile.LNKTYPE, target="a"))]
    assert rootfs.mount("/data", tree) == "/srv"
    assert sorted(rootfs.entries) == ["data", "srv", "srv/a", "srv/b"]
    assert rootfs.entries["srv/a"] is rootfs.entries["srv/b"]
    with pytest.raises(BadRootfs, match="nothing can be mounted"):
        rootfs.mount("/", tree)


@given(st.binary(max_size=2048))
def test_fuzz_tar(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.tar"
    path.write_bytes(data)
    try:
        rootfs = Rootfs.read(path, LIMIT)
    except BadRootfs:
        return
    assert all(not n.startswith(("/", "..")) for n in rootfs.entries)


def test_init_block() -> None:
    assert init_block(["/bin/a", "ä", ""], ["K=V"]) == b"3\x001\0/bin/a\0\xc3\xa4\0\0K=V\0"
    assert init_block(["/bin/a"], [], ["cwd=/"]) == b"1\x000\0/bin/a\0cwd=/\0"
    with pytest.raises(BadRootfs, match="holds a NUL"):
        init_block(["/bin/a", "b\0"], [])


def test_links_are_counted_wherever_they_stand() -> None:
    """Each of two links to two links … would be 2^25 of them; Linux follows forty on the way of one path."""
    rootfs = Rootfs()
    for n in range(25):
        rootfs.add(f"l{n}", Node(tarfile.SYMTYPE, target=f"l{n + 1}/l{n + 1}"))
    rootfs.add("l25", Node(tarfile.SYMTYPE, target="."))
    assert rootfs.resolve("/l21/x") == "x"  # 31 links
    assert rootfs.resolve("/l20/x") is None  # 63
    assert rootfs.resolve("/l0/x") is None


def test_what_is_no_tar_is_refused_in_a_line_and_without_memory(tmp_path: Path) -> None:
    """The bytes are a header of LZMA's old format, too: with a dictionary of 512 MiB."""
    (tmp_path / "t.tar").write_bytes(bytes(4) + b"\x20" + bytes(10235))
    tracemalloc.start()
    with pytest.raises(BadRootfs, match=r"not a tar that can be read") as refusal:
        Rootfs.read(tmp_path / "t.tar", LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refusal.value)
    assert peak < 1 << 20
