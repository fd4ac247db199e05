from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.guest.rootfs import SKELETON, BadRootfs, Rootfs, init_block

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
    assert set(found) == {"bin", "etc", "etc/motd", "etc/issue", "d" * 80, long}
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
        assert found[0].name == "usr/bin/prog"
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
        (entry("a", tarfile.SYMTYPE, "/etc/passwd"), "leads out"),
        (entry("a/b", tarfile.SYMTYPE, "../../etc"), "leads out"),
        (entry("a", tarfile.SYMTYPE, "b/../../c"), "leads out"),
        (entry("a", tarfile.LNKTYPE, "/etc/passwd"), "leads out"),
        (entry("a", tarfile.LNKTYPE, "../x"), "leads out"),
        (entry("a", tarfile.LNKTYPE, "missing"), "link to nothing"),
        (entry("a", tarfile.CHRTYPE), "device"),
        (entry("a", tarfile.FIFOTYPE), "device"),
        (entry("a", size=LIMIT + 512), "larger than the memory"),
    ],
)
def test_refusals(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    with pytest.raises(BadRootfs, match=message) as caught:
        Rootfs.read(write_tar(tmp_path / "r.tar", info), LIMIT)
    assert str(tmp_path / "r.tar") in str(caught.value)


def test_a_file_cannot_be_a_directory(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "r.tar", entry("a"), entry("a/b"))
    with pytest.raises(BadRootfs, match="no directory"):
        Rootfs.read(tar, LIMIT)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_and_cut_short(tmp_path: Path, mode: str) -> None:
    whole = write_tar(tmp_path / "r", entry("a", size=70000), mode=mode).read_bytes()
    assert "a" in Rootfs.read(tmp_path / "r", LIMIT).entries
    (tmp_path / "r").write_bytes(whole[: len(whole) // 2])
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


def test_a_device_in_a_directory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadRootfs, match="device or pipe"):
        Rootfs.read(tmp_path, LIMIT)


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
    with pytest.raises(BadRootfs, match="holds a NUL"):
        init_block(["/bin/a", "b\0"], [])
