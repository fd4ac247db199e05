"""What a root file system looks like inside a container, and what comes back out of its volumes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from paracell import Container
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.archive import least_memory
from paracell.guest.node import BadRootfs, Node
from paracell.guest.rootfs import Rootfs
from paracell.problem import Problem
from paracell.volumes import Volume

from .kernels import MACHINES, Typed, boot, run, tar_of
from .programs import BUSYBOX, RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(not BUSYBOX.is_file(), reason="busybox-static is not installed")
LONG = "n" * 120


def rootfs_of(*more: tuple[str, Node]) -> Rootfs:
    """Busybox under its names, in places that only links lead to."""
    rootfs = Rootfs()
    rootfs.add("usr/bin/busybox", Node(tarfile.REGTYPE, data=BUSYBOX.read_bytes()))
    rootfs.add("bin", Node(tarfile.SYMTYPE, target="/usr/bin"))
    for name in (
        "sh",
        "ls",
        "cat",
        "stat",
        "mkfifo",
        "echo",
        "id",
        "rm",
        "mv",
        "touch",
        "chmod",
        "ln",
        "mkdir",
        "test",
    ):
        rootfs.add(f"bin/{name}", Node(tarfile.LNKTYPE, target="usr/bin/busybox"))
    rootfs.fill(more)
    rootfs.complete()
    return rootfs


def shell(
    machine: str, folder: Path, script: str, *more: tuple[str, Node], settings: Sequence[str] = (), status: int = 0
) -> str:
    argv = ["/bin/sh", "-c", script]
    outcome = run(machine, folder, rootfs_of(*more).to_tar(), argv, env=["PATH=/bin"], settings=settings)
    assert outcome.status == status, outcome
    return outcome.out.decode() + outcome.err.decode()


@pytest.mark.parametrize("machine", MACHINES)
def test_each_kind_of_file(machine: str, tmp_path: Path) -> None:
    said = shell(
        machine,
        tmp_path,
        "stat -c '%n %F %a %u:%g %Y %h' plain again pipe link sticky own/null own/odd;"
        "stat -c '%t %T' own/odd; cat abs; cat pipe & echo through > pipe; wait;"
        "echo x > own/null && cat own/null; cat own/odd; cat /usr/../$LONG/$LONG 2>/dev/null; ls d* | head -c 20".replace("$LONG", LONG),
        ("plain", Node(tarfile.REGTYPE, 0o4751, 70000, 3_000_000_000, 1234567890, b"text\n")),
        ("again", Node(tarfile.LNKTYPE, target="plain")),
        ("pipe", Node(tarfile.FIFOTYPE, 0o600, 1, 2, 3)),
        ("link", Node(tarfile.SYMTYPE, 0o777, 5, 6, 7, target="/plain")),
        ("sticky", Node(tarfile.DIRTYPE, 0o1777, mtime=9)),
        ("own/null", Node(tarfile.CHRTYPE, 0o666, mtime=8, device=(1, 3))),
        ("own/odd", Node(tarfile.BLKTYPE, 0o640, mtime=8, device=(8, 17))),
        ("abs", Node(tarfile.SYMTYPE, target="/../../../again")),
        (f"{LONG}/{LONG}", Node(tarfile.REGTYPE, data=b"long\n")),
        ("d" * 250, Node(tarfile.REGTYPE)),
    )  # fmt: skip
    assert said.splitlines() == [
        "plain regular file 4751 70000:3000000000 1234567890 2",
        "again regular file 4751 70000:3000000000 1234567890 2",
        "pipe fifo 600 1:2 3 1",
        "link symbolic link 777 5:6 7 1",
        "sticky directory 1777 0:0 9 2",
        "own/null character special file 666 0:0 8 1",
        "own/odd block special file 640 0:0 8 1",
        "8 11",
        "text",
        "through",
        "long",
        "d" * 20 + "cat: can't open 'own/odd': No such device or address",
    ]


SETTINGS = (
    "uid=33",
    "gid=34",
    "group=7",
    "group=5",
    "cwd=/srv",
    "umask=23",
    "hostname=box",
    "rlimit=7:20:30",
    "nonewprivs=1",
)


@pytest.mark.parametrize("machine", MACHINES)
def test_settings_of_the_first_process(machine: str, tmp_path: Path) -> None:
    script = "id -u; id -g; id -G; pwd; umask; cat /proc/sys/kernel/hostname; ulimit -Sn; ulimit -Hn; cat /proc/self/status | grep NoNew"
    said = shell(
        machine, tmp_path, script.replace("| grep", "| busybox grep"), ("srv", Node(tarfile.DIRTYPE)), settings=SETTINGS
    )
    assert said.split() == ["33", "34", "34", "5", "7", "/srv", "0027", "box", "20", "30", "NoNewPrivs:", "1"]


@pytest.mark.parametrize(
    "setting", ["cwd=/missing", "cwd=/file", "rlimit=99:1:1", "rlimit=7:2:1", "odd=1", "readonly=/none"]
)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_settings_that_cannot_be(runtime: str, setting: str, tmp_path: Path) -> None:
    said = shell(runtime, tmp_path, "true", ("file", Node(tarfile.REGTYPE)), settings=[setting], status=125)
    assert said.startswith(f"paracell: setting {setting}: ")


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_read_only(machine: str, tmp_path: Path) -> None:
    """Linux answers the same for a read-only bind mount in a file system that can be written."""
    script = """
    cd /ro; for c in 'echo x > file' 'echo x > new' 'mkdir d' 'rm file' 'mv file f2' 'ln file f3' 'chmod 600 file' 'touch file' \
        'ln -s a b' 'mkfifo p' 'echo x >> sub/file' 'mv file /tmp/' 'mv /tmp/a .' 'rm -r /ro'; do
        sh -c "$c" 2>&1 | busybox sed 's/.*: //'; done
    cat file; echo in > rw/new && cat rw/new; echo through > pipe & cat pipe; touch /tmp/a && echo free
    """
    said = shell(
        machine, tmp_path, script,
        ("ro/file", Node(tarfile.REGTYPE, 0o666, data=b"text\n")), ("ro/sub/file", Node(tarfile.REGTYPE, 0o666)),
        ("ro/rw", Node(tarfile.DIRTYPE)), ("ro/pipe", Node(tarfile.FIFOTYPE)), ("tmp/a", Node(tarfile.REGTYPE)),
        settings=["readonly=/ro", "writable=/ro/rw"],
    )  # fmt: skip
    lines = said.splitlines()
    assert len(lines) >= 14 + 4  # rm -r complains several times
    assert set(lines[:-4]) == {"Read-only file system"}
    assert lines[-4:] == ["text", "in", "through", "free"]


# ---- volumes ----------------------------------------------------------------------------------------------------


def tree_of(root: Path) -> dict[str, object]:
    """Everything below a directory: kind, mode, contents, and which names are one file."""
    found: dict[str, object] = {}
    first: dict[int, str] = {}
    for path in sorted(root.rglob("*")):
        status, name = path.lstat(), path.relative_to(root).as_posix()
        kind = stat.S_IFMT(status.st_mode)
        data = str(path.readlink()) if path.is_symlink() else path.read_bytes() if kind == stat.S_IFREG else b""
        found[name] = (kind, stat.S_IMODE(status.st_mode), data, first.setdefault(status.st_ino, name))
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with some of everything."""
    root = tmp_path / "data"
    (root / "sub/deep").mkdir(parents=True)
    (root / "one").write_bytes(b"one\n")
    (root / "one").chmod(0o640)
    os.link(root / "one", root / "same")
    (root / "big").write_bytes(bytes(range(256)) * 100)
    (root / "sub/two").write_bytes(b"two\n")
    (root / "link").symlink_to("/etc/passwd")
    os.utime(root / "big", (1000, 1000))
    return root


def in_container(runtime: str, script: str, *volumes: str) -> Container:
    return Container("busybox", "sh", "-c", f"cd /data; {script}", runtime=runtime, volumes=volumes)


CHANGES = """
echo more >> one; rm sub/two; mkdir -p new/er; echo x > new/er/x; ln new/er/x y; ln -s /x l; mkfifo p; chmod 700 sub
mv big sub/deep/moved; mv sub/deep under; ln -sf elsewhere link; : > $(printf '%0150d' 7); chmod 4755 y
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_volume_comes_back_as_the_same_commands_leave_it(runtime: str, data: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    subprocess.run(["cp", "-a", data, twin], check=True)
    subprocess.run([BUSYBOX, "sh", "-c", f"umask 022; cd {twin}; {CHANGES}"], check=True)
    (twin / "y").chmod(0o755)  # nobody gets a program of root's out of a container
    with in_container(runtime, CHANGES, f"{data}:/data") as container:
        assert container.run().status == 0
        container.write_volumes()
    assert tree_of(data) == tree_of(twin)
    assert (data / "under/moved").stat().st_mtime == 1000
    assert not list(tmp_path.rglob(".paracell*"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_did_not_change_is_not_touched(runtime: str, data: Path) -> None:
    before = {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in data.rglob("*")}
    with in_container(runtime, "cat one big sub/two > /dev/null; test -d sub", f"{data}:/data") as container:
        assert container.run().status == 0
        assert container.captured is not None
        assert len(container.captured.sent[2]) < 10_000  # big does not come back
        container.write_volumes()
    assert {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in data.rglob("*")} == before


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_single_files_and_read_only(runtime: str, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"old\n")
    script = "cat ../f; echo new > ../f; echo x > one || echo refused; cat one"
    with in_container(runtime, script, f"{data}:/data:ro", f"{other}:/f") as container:
        assert container.run().stdout == "old\nrefused\none\n"
        container.write_volumes()
    assert other.read_bytes() == b"new\n"
    assert (data / "one").read_bytes() == b"one\n"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_that_fails_sends_nothing(runtime: str, data: Path) -> None:
    before = tree_of(data)
    for end in ("exit 3", "kill -9 $$"):
        with in_container(runtime, f"rm -r *; {end}", f"{data}:/data") as container:
            assert container.run().status != 0
            assert container.captured is not None
            assert not container.captured.sent[2]
    assert tree_of(data) == before


def changed_run(data: Path) -> Container:
    container = in_container("native", CHANGES, f"{data}:/data")
    assert container.run().status == 0
    return container


@pytest.mark.parametrize(
    ("which", "error"),
    [*zip(range(0, 35, 3), (KeyboardInterrupt, OSError) * 6, strict=True), (34, OSError), (1000, OSError)],
)
def test_a_write_back_that_is_interrupted(
    data: Path, monkeypatch: pytest.MonkeyPatch, which: int, error: type[BaseException]
) -> None:
    """The n-th operation on files fails; afterwards all is as before, or, where there were fewer, all is done."""
    container, before, count, failed = changed_run(data), tree_of(data), 0, False

    def failing(operation: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal count, failed
            if count == which and not failed:
                failed = True
                raise error
            count += not failed
            return operation(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "rename", "mkdir", "chmod", "symlink_to", "write_bytes"):
            patch.setattr(f"pathlib.Path.{name}", failing(getattr(type(data), name)))
        patch.setattr("os.link", failing(os.link))
        if which < 1000:
            with pytest.raises(error):
                container.write_volumes()
        else:
            container.write_volumes()
    container.close()
    assert failed == (which < 1000)
    assert failed or count == 35  # operations that there are
    assert (tree_of(data) == before) == failed
    assert not list(data.rglob(".paracell*"))


@pytest.mark.parametrize(
    "meddle",
    [
        lambda d: (d / "one").write_bytes(b"mine\n"),
        lambda d: (d / "sub/two").unlink(),
        lambda d: (d / "l").touch(),
        lambda d: (d / "sub/deep/more").touch(),
        lambda d: ((d / "sub").rename(d / "away"), (d / "sub").symlink_to("away")),
        lambda d: (d / "new").mkdir(),
    ],
)
def test_what_changed_here_meanwhile_is_kept(data: Path, meddle: Callable[[Path], object]) -> None:
    with changed_run(data) as container:
        meddle(data)
        before = tree_of(data)
        with pytest.raises(Problem, match="not written back"):
            container.write_volumes()
    assert tree_of(data) == before


@pytest.mark.parametrize("keep", [0, 511, 512, 1500, 0.5, -1, -1024])
def test_an_archive_that_is_cut(data: Path, keep: float) -> None:
    before = tree_of(data)
    with changed_run(data) as container:
        assert container.captured is not None
        sent = bytes(container.captured.sent[2])
        with pytest.raises(Problem, match="not written back"):
            container.write_volumes(sent[: int(len(sent) * keep) if 0 < keep < 1 else int(keep)])
    assert tree_of(data) == before


def archive(*entries: tuple[str, bytes, bytes]) -> bytes:
    """What a container kernel gone wrong might send; the last of each is a link's target, or contents."""
    out = b""
    for name, kind, data in entries:
        info = tarfile.TarInfo(name)
        info.type, info.mode = kind, 0o644
        if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE}:
            info.linkname = data.decode()
        else:
            info.size = len(data)
        out += info.tobuf(tarfile.GNU_FORMAT) + data[: info.size] + bytes(-info.size % 512)
    return out + bytes(1024)


@pytest.mark.parametrize(
    "entries",
    [
        [("data", b"D", b"Y../x\0\0")],
        [("data", b"D", b"Y..\0\0")],
        [("data", b"D", b"Y\0\0")],
        [("data", b"D", b"Zx\0\0")],
        [("data", b"D", b"Yx\0\0")],
        [("data", b"D", b"Yx\0")],
        [("data", b"D", b"\0"), ("data/x", tarfile.REGTYPE, b"")],
        [("data", b"D", b"Yx\0\0"), ("data/x/y", tarfile.REGTYPE, b"")],
        [("data", b"D", b"Nx\0\0")],
        [("data", b"D", b"Yx\0\0"), ("data/x", tarfile.LNKTYPE, b"data/y")],
        [("data", b"D", b"Yx\0\0"), ("data/x", tarfile.LNKTYPE, b"etc/passwd")],
        [("data", b"D", b"Yx\0\0"), ("data/x", tarfile.CHRTYPE, b"")],
        [("data", b"D", b"\0"), ("etc/passwd", tarfile.REGTYPE, b"")],
        [("/etc/passwd", tarfile.REGTYPE, b"")],
        [("../data", b"D", b"\0")],
        # Through a link that the same archive makes.
        [("data", b"D", b"Yx\0\0"), ("data/x", tarfile.SYMTYPE, b"/tmp"), ("data/x/y", tarfile.REGTYPE, b"")],
        [("data", b"D", b"Dlink\0\0"), ("data/link", b"D", b"Yy\0\0")],
    ],
)
def test_a_hostile_archive_harms_nothing(data: Path, entries: list[tuple[str, bytes, bytes]]) -> None:
    before = tree_of(data)
    with in_container("native", "true", f"{data}:/data") as container, pytest.raises(Problem, match="not written back"):
        container.write_volumes(archive(*entries))
    assert tree_of(data) == before


@pytest.mark.parametrize("text", ["a", "a:b", ":/b", "a:/b:rx", "a:/b:ro:"])
def test_what_is_no_volume(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:GUEST"):
        Volume.parse(text)


def test_volumes_that_cannot_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for host, guest, error in (
        (tmp_path / "none", "/a", FileNotFoundError), (tmp_path / "pipe", "/a", Problem), (tmp_path, "/", BadRootfs),
    ):  # fmt: skip
        with pytest.raises(error):
            Container("hello", volumes=[f"{host}:{guest}"])


def test_the_command(data: Path) -> None:
    command = [sys.executable, "-m", "paracell", "run", "-v", f"{data}:/data", "-w", "/data"]

    def run_script(script: str, *options: str) -> tuple[int, str]:
        done = subprocess.run([*command, *options, "busybox", "sh", "-c", script], stdout=-1, text=True, check=False)
        return done.returncode, done.stdout

    assert run_script("id -u; id -g; pwd", "-u", "7:8") == (0, "7\n8\n/data\n")
    assert run_script("rm one; echo new > two; exit 1") == (1, "")
    assert (data / "one").exists()
    assert run_script("rm one; echo new > two") == (0, "")
    assert not (data / "one").exists()
    assert (data / "two").read_bytes() == b"new\n"


# ---- images, and what does not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_image_says_how_it_is_run(runtime: str, tmp_path: Path) -> None:
    rootfs = rootfs_of(
        ("etc/passwd", Node(tarfile.REGTYPE, data=b"web:x:33:34::/home/web:/bin/sh\n")),
        ("home/web", Node(tarfile.DIRTYPE, uid=33, gid=34)),
    )
    config = {
        "Env": ["A=b", "PATH=/usr/bin"], "Entrypoint": ["sh", "-c", 'echo "$0 $A $HOME $(pwd) $(id -u)"'], "Cmd": ["zero"],
        "WorkingDir": "/home/web", "User": "web",
    }  # fmt: skip
    files = {
        "layer.tar": rootfs.to_tar(),
        "config.json": json.dumps({"os": "linux", "architecture": "amd64", "config": config}).encode(),
        "manifest.json": json.dumps([{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]).encode(),
    }
    (tmp_path / "image.tar").write_bytes(tar_of(files))
    image = str(tmp_path / "image.tar")
    with Container(runtime=runtime, rootfs=image) as container:
        assert container.run().stdout == "zero b /home/web /home/web 33\n"
    with Container(
        "sh", "-c", "id -u; pwd; echo $A", runtime=runtime, rootfs=image, user="0", cwd="/", environment={"A": "c"}
    ) as other:
        assert other.run().stdout == "0\n/\nc\n"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_files_may_take_nearly_all_of_the_memory(runtime: str) -> None:
    """They lie where the boot loader put them, and a container may use what is left beside them."""
    hello = shipped.program("hello")
    assert hello is not None
    large = os.urandom(1 << 20) * 40
    rootfs = rootfs_of(
        ("large", Node(tarfile.REGTYPE, data=large)), ("hello", Node(tarfile.REGTYPE, data=hello.read_bytes()))
    )
    files = rootfs.to_tar()
    least = -(-least_memory(len(files)) >> 20) << 20
    script = "cat /large | busybox md5sum; busybox dd if=/large of=/tmp/copy bs=1M count=4 2>/dev/null"
    for memory, argv in ((least, ["/hello"]), (least + (32 << 20), ["/bin/sh", "-c", script])):
        console = Typed(b"")
        stop = boot(runtime, files, argv, console=console, memory=memory, env=["PATH=/bin"]).run()
        assert (stop.reason, stop.value) == (Reason.EXIT, 0), bytes(console.sent[1])
    assert bytes(console.sent[0]).startswith(hashlib.md5(large, usedforsecurity=False).hexdigest().encode())
