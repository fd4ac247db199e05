"""The OCI runtime's verbs, each as a command of its own, as an engine calls them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.guest import shipped
from paracell.oci.config import read
from paracell.oci.features import features, template
from paracell.oci.problem import OciProblem
from paracell.oci.store import Store, began
from paracell.oci.verbs import signal_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUSYBOX = Path(shutil.which("busybox") or "/bin/busybox")
pytestmark = pytest.mark.skipif(not BUSYBOX.is_file(), reason="busybox-static is not installed")
PATIENCE = 60.0
PR_SET_CHILD_SUBREAPER = 36


class Runtime:
    """The runtime with a directory of its own, and a bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = folder / "bundle"
        self.root = self.bundle / "rootfs"
        (self.root / "bin").mkdir(parents=True)
        shutil.copy(BUSYBOX, self.root / "bin/busybox")
        for name in (
            "sh",
            "cat",
            "id",
            "ls",
            "stat",
            "sleep",
            "touch",
            "rm",
            "stty",
            "tty",
            "env",
            "mkdir",
            "hostname",
        ):
            os.link(self.root / "bin/busybox", self.root / "bin" / name)
        self.config: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "process": {"args": ["sh"], "env": ["PATH=/bin"], "cwd": "/"},
            "root": {"path": "rootfs"},
        }
        self.log = folder / "log"

    def script(self, script: str) -> None:
        self.config["process"]["args"] = ["sh", "-c", script]

    def command(self, verb: str, *arguments: str | Path) -> list[str]:
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        options = ["--root", str(self.folder / "run"), "--log", str(self.log), "--log-format", "json"]
        return [sys.executable, "-m", "paracell", *options, verb, *map(str, arguments)]

    def __call__(self, verb: str, *arguments: str | Path, status: int = 0, typed: str = "") -> str:
        """Run a verb; give what it wrote."""
        done = subprocess.run(
            self.command(verb, *arguments), input=typed, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode == status, done
        return done.stdout + done.stderr

    def run(self, script: str, status: int = 0) -> str:
        self.script(script)
        return self("run", "--bundle", self.bundle, "c", status=status)

    def create(self, name: str, *options: str | Path) -> Path:
        """Make a container whose output goes to a file; give that."""
        out = self.folder / f"{name}.out"
        command = self.command("create", "--bundle", self.bundle, *options, name)
        with out.open("wb") as file:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, timeout=PATIENCE
            )
        assert done.returncode == 0, out.read_text()
        return out

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("state", name))
        return found

    def messages(self, level: str) -> list[str]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line["msg"] for line in lines if line["level"] == level]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def oci(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path)


# ---- the life of a container ------------------------------------------------------------------------------------


def test_a_life(oci: Runtime) -> None:
    oci.config["annotations"] = {"a.b": "c"}
    oci.script("trap 'echo caught; exit 7' USR1; echo up; while :; do sleep 1; done")
    out, pid_file = oci.folder / "c1.out", oci.folder / "pid"
    oci.create("c1", "--pid-file", pid_file)
    state = oci.state("c1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", state.pop("created"))
    state.pop("owner")
    assert state == {
        "ociVersion": "1.0.2", "id": "c1", "pid": int(pid_file.read_text()), "status": "created",
        "bundle": str(oci.bundle), "rootfs": str(oci.root), "annotations": {"a.b": "c"},
    }  # fmt: skip
    assert "already exists" in oci("create", "--bundle", oci.bundle, "c1", status=1)
    assert "not stopped: created" in oci("delete", "c1", status=1)
    assert out.read_text() == ""
    oci("start", "c1")
    assert "already running" in oci("start", "c1", status=1)
    until(lambda: out.read_text() == "up\n")
    assert oci("list", "-q") == "c1\n"
    assert oci("list").splitlines()[1].split()[:4] == ["c1", pid_file.read_text(), "running", str(oci.bundle)]
    assert [one["status"] for one in json.loads(oci("list", "--format", "json"))] == ["running"]
    assert "not stopped: running" in oci("delete", "c1", status=1)
    oci("kill", "c1", "SIGUSR1")
    until(lambda: oci.state("c1")["status"] == "stopped")
    assert out.read_text() == "up\ncaught\n"
    assert oci.state("c1")["pid"] == 0
    for verb, message in (("kill", "not running"), ("start", "has stopped")):
        assert message in oci(verb, "c1", status=1)
    oci("delete", "c1")
    for verb in ("state", "kill", "start", "delete"):
        assert "does not exist: c1" in oci(verb, "c1", status=1)
    oci("delete", "--force", "c1")
    assert oci("list", "-q") == ""
    assert {line.partition(":")[0] for line in oci.messages("error")} >= {
        "container not running",
        "container does not exist",
    }


def test_the_status_of_its_process_is_its_own(oci: Runtime) -> None:
    """An engine waits for the number in the pid file; who started us is its subreaper, as conmon is."""
    program = shipped.program("segv")
    assert program is not None
    shutil.copy(program, oci.root / "bin")
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        for name, script, want in (("a", "exit 3", 3), ("b", "exec segv", 139)):
            oci.script(script)
            oci.create(name, "--pid-file", oci.folder / name)
            oci("start", name)
            _, status = os.waitpid(int((oci.folder / name).read_text()), 0)
            assert os.waitstatus_to_exitcode(status) == want
        oci.create("c", "--pid-file", oci.folder / "c")
        oci("kill", "c", "9")
        _, status = os.waitpid(int((oci.folder / "c").read_text()), 0)
        assert os.waitstatus_to_exitcode(status) == -9
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_run(oci: Runtime) -> None:
    assert oci.run("cat; echo err >&2; exit 5", 5) == "err\n"
    oci.script("cat")
    assert oci("run", "--bundle", oci.bundle, "c", typed="in") == "in"
    # As in a PID namespace: what the first process has no handler for does nothing, from inside not even KILL.
    assert oci.run("kill -TERM $$; kill -KILL $$; trap 'echo caught' HUP; kill -HUP $$; exit 6", 6) == "caught\n"
    assert oci("list", "-q") == ""
    oci.script("sleep 1000")
    null = subprocess.DEVNULL  # what is detached keeps the streams that it is given
    command = oci.command("run", "--detach", "--bundle", oci.bundle, "d")
    subprocess.run(command, check=True, stdin=null, stdout=null, stderr=null, timeout=PATIENCE)
    assert oci.state("d")["status"] == "running"
    oci("delete", "--force", "d")
    oci.script("true")
    oci("run", "--keep", "--bundle", oci.bundle, "k")
    assert oci.state("k")["status"] == "stopped"


def test_a_sleep_takes_its_time(oci: Runtime) -> None:
    """Whoever runs by himself keeps the clock of those who use him."""
    oci.script("sleep 1000; echo slept")
    out = oci.create("c")
    oci("start", "c")
    pid = oci.state("c")["pid"]
    time.sleep(2)
    assert began(pid)
    oci("kill", "c")  # it has no handler
    time.sleep(1)
    assert began(pid)
    oci("kill", "c", "KILL")
    until(lambda: not began(pid))
    assert out.read_text() == ""


# ---- what config.json says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["native", "paracell"])
def test_the_process(oci: Runtime, runtime: str) -> None:
    (oci.root / "etc").mkdir()
    (oci.root / "etc/passwd").write_text("x:x:7:8::/home/x:/bin/sh\n")
    oci.config["annotations"] = {"org.paracell.runtime": runtime}
    oci.config["hostname"] = "box"
    oci.config["process"] |= {
        "user": {"uid": 7, "gid": 8, "additionalGids": [11, 10], "umask": 0o77}, "cwd": "/made/here", "noNewPrivileges": True,
        "env": ["PATH=/bin", "A=b c"],
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 30, "hard": 40}, {"type": "RLIMIT_CPU", "soft": 5, "hard": (1 << 64) - 1}],
    }  # fmt: skip
    said = oci.run(
        "id -u; id -g; id -G; umask; pwd; hostname; echo $A-$HOME; ulimit -Sn; ulimit -Hn; ulimit -St; ulimit -Ht"
    )
    assert said.split() == [
        *("7", "8", "8", "10", "11", "0077", "/made/here", "box", "b", "c-/home/x", "30", "40", "5", "unlimited"),
    ]
    assert not oci.messages("warning")


def test_mounts(oci: Runtime) -> None:
    (oci.folder / "shared").mkdir()
    (oci.folder / "shared/a").write_text("a\n")
    (oci.bundle / "file").write_text("file\n")
    oci.config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "rw"]},
        {"destination": "/t", "type": "tmpfs", "options": ["mode=1700", "uid=5"]},
        {"destination": "/t/ro", "type": "tmpfs", "options": ["ro"]},
        {
            "destination": "/bin/shared",
            "type": "bind",
            "source": str(oci.folder / "shared"),
            "options": ["rbind", "rprivate"],
        },
        {"destination": "/protected", "source": str(oci.folder / "shared"), "options": ["bind", "ro"]},
        {"destination": "/file", "type": "none", "source": "file", "options": ["bind"]},
    ]
    oci.config["root"]["readonly"] = True
    said = oci.run(
        "stat -c '%a %u' /t; cat /proc/self/comm /bin/shared/a /protected/a /file; cd /bin/shared; echo b > b; rm a; echo new > /file;"
        "for f in /x /t/ro/x /protected/x; do touch $f 2>&1; done; touch /t/x /dev/x; echo > /dev/null; exit 4", 4
    )  # fmt: skip
    assert said == "1700 5\ncat\na\na\nfile\n" + "".join(
        f"touch: {p}: Read-only file system\n" for p in ("/x", "/t/ro/x", "/protected/x")
    )
    assert sorted(path.name for path in (oci.folder / "shared").iterdir()) == ["b"]
    assert (oci.bundle / "file").read_text() == "new\n"
    assert sorted(path.name for path in oci.root.iterdir()) == ["bin"]
    assert not oci.messages("warning")


def test_what_changes_in_the_root_stays(oci: Runtime) -> None:
    oci.config["mounts"] = [{"destination": "/t", "type": "tmpfs"}]
    oci.config["linux"] = {"maskedPaths": ["/secret", "/none", "/hidden"], "readonlyPaths": ["/kept", "/none"]}
    (oci.root / "secret").write_text("secret")
    (oci.root / "hidden").mkdir()
    (oci.root / "hidden/secret").write_text("secret")
    (oci.root / "kept").write_text("kept\n")
    (oci.root / "gone").write_text("")
    oci.config["linux"]["devices"] = [
        {"path": "/dev/other", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 3, "gid": 4},
        {"path": "/pipe", "type": "p"},
    ]
    said = oci.run(
        "cat /secret /hidden/* /kept 2>&1; echo x > /kept; touch /t/a; rm gone; echo 1 > /one; stat -c '%F %a %u' /dev/other /pipe;"
        "rm /secret"
    , 1)  # fmt: skip
    assert said.splitlines() == [
        "cat: can't open '/hidden/*': No such file or directory", "kept", "character special file 600 3", "fifo 666 0",
        "sh: can't create /kept: Read-only file system", "rm: can't remove '/secret': Device or resource busy",
    ]  # fmt: skip
    assert sorted(path.name for path in oci.root.iterdir()) == ["bin", "hidden", "kept", "one", "secret"]
    assert (oci.root / "secret").read_text() == "secret"
    assert (oci.root / "hidden/secret").read_text() == "secret"
    told = "linux.devices[0]: /dev/other can be seen, but not opened: the container kernel has no such device"
    assert oci.messages("warning") == [told]


def test_memory(oci: Runtime) -> None:
    script = "busybox grep MemTotal /proc/meminfo"
    oci.config["linux"] = {"resources": {"memory": {"limit": 64 << 20}}}
    small = int(oci.run(script).split()[1])
    oci.config["linux"] = {}
    large = int(oci.run(script).split()[1])
    assert 60_000 < small < 72_000
    assert 250_000 < large < 270_000


def test_hooks(oci: Runtime) -> None:
    order = oci.folder / "order"

    def hook(name: str, more: str = "") -> dict[str, Any]:
        script = f'echo {name} $(sed \'s/.*"status": "\\([a-z]*\\)".*/\\1/\') $X >> {order}; {more}'
        return {
            "path": "/bin/sh",
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin:/usr/bin", f"X={name}"],
            "timeout": 20,
        }

    moments = ("prestart", "createRuntime", "poststart", "poststop")
    oci.config["hooks"] = {moment: [hook(f"{moment}{n}") for n in (1, 2)] for moment in moments}
    oci.run("true")
    statuses = {"prestart": "creating", "createRuntime": "creating", "poststart": "running", "poststop": "stopped"}
    assert order.read_text().split("\n")[:-1] == [f"{m}{n} {statuses[m]} {m}{n}" for m in moments for n in (1, 2)]
    order.unlink()
    oci.config["hooks"] = {"createRuntime": [hook("a", "echo why >&2; exit 3"), hook("b")], "poststop": [hook("c")]}
    assert "ended with status 3: why" in oci.run("true", 1)
    assert order.read_text() == "a creating a\n"
    assert oci("list", "-q") == ""
    oci.config["hooks"] = {"poststart": [hook("a", "exit 3"), hook("b")], "poststop": [hook("c", "exit 4"), hook("d")]}
    assert oci.run("echo ran") == "ran\n"
    assert len(oci.messages("warning")) == 2


def test_a_terminal(oci: Runtime) -> None:
    oci.config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 77}}
    oci.script("trap : INT; stty size; cat; echo end")
    assert "without --console-socket" in oci("create", "--bundle", oci.bundle, "c", status=1)
    path = oci.folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        oci.create("c", "--console-socket", path)
        connection, _ = listener.accept()
        with connection:
            name, (master,), _, _ = socket.recv_fds(connection, 4096, 1)
    assert name.startswith(b"/dev/pts/")
    oci("start", "c")
    said = b""

    def expect(text: bytes) -> None:
        nonlocal said
        end = time.monotonic() + PATIENCE
        while text not in said:
            assert select.select([master], [], [], max(end - time.monotonic(), 0))[0], said
            said += os.read(master, 1000)

    expect(b"33 77\r\n")
    os.write(master, b"typed\r")
    expect(b"typed\r\ntyped\r\n")  # its own terminal echoes, then cat
    os.write(master, b"\x03")
    expect(b"end\r\n")
    until(lambda: oci.state("c")["status"] == "stopped")
    os.close(master)
    oci.config["process"]["terminal"] = False
    assert "process.terminal is false" in oci("create", "--bundle", oci.bundle, "--console-socket", path, "d", status=1)


# ---- what is refused, and what is only told ---------------------------------------------------------------------


def changed(**changes: Any) -> dict[str, Any]:
    """A configuration with some values changed: ``process__cwd="x"``."""
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {"args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
    }
    for name, value in changes.items():
        place = config
        *path, last = name.split("__")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "the file is no object"),
        (changed(ociVersion=None), "ociVersion is missing"),
        (changed(ociVersion="2.0.0"), "only 1.x.y"),
        (changed(process=1), "process is no object"),
        (changed(process__args=[]), "process.args is empty"),
        (changed(process__args=["a", 1]), r"process.args\[1\] is no string"),
        (changed(process__args=["a\0"]), "holds a NUL"),
        (changed(process__cwd="here"), "process.cwd is no absolute path"),
        (changed(process__terminal="yes"), "process.terminal is no truth value"),
        (changed(process__user__uid=-1), "process.user.uid is not between"),
        (changed(process__user__uid=True), "process.user.uid is no whole number"),
        (changed(process__user__additionalGids=[1, "x"]), r"additionalGids\[1\].* is no whole number"),
        (changed(process__rlimits=[{"type": "RLIMIT_ODD", "soft": 1, "hard": 1}]), "no resource: RLIMIT_ODD"),
        (changed(process__rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "soft is above hard"),
        (changed(process__rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2), "comes twice"),
        (changed(process__rlimits=[{"type": "RLIMIT_CPU", "soft": 1}]), r"rlimits\[0\].hard"),
        (changed(root=None), "root.path is missing"),
        (changed(annotations={"a": 1}), "a value is no string"),
        (changed(hooks={"startContainer": [{"path": "/x"}]}), "hooks.startContainer cannot run"),
        (changed(hooks={"prestart": [{"path": "x"}]}), "no absolute path"),
        (changed(hooks={"prestart": [{"path": "/x", "timeout": 0}]}), "not above 0"),
        (changed(linux__namespaces=[{"type": "odd"}]), "no namespace: odd"),
        (changed(linux__namespaces=[{"type": "pid"}] * 2), "comes twice"),
        (changed(windows={"x": 1}), "other platforms"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, config: Any, message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(OciProblem, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": {"args": ["nothing"], "cwd": "/"}}, 'exec: "nothing": executable file not found in $PATH'),
        ({"process": {"args": ["/nothing"], "cwd": "/"}}, "no such file or directory"),
        ({"process": {"args": ["/file"], "cwd": "/"}}, "Permission denied"),
        ({"process": {"args": ["sh"], "cwd": "/file"}}, "Not a directory"),
        ({"process": None}, "process is missing"),
        ({"root": {"path": "none"}}, "root.path is no directory"),
        ({"mounts": [{"destination": "/a", "type": "ext4"}]}, "'ext4' are not supported"),
        ({"mounts": [{"destination": "/a"}]}, "neither a type nor"),
        ({"mounts": [{"destination": "/a", "type": "bind", "source": "/none/such"}]}, "No such file"),
        ({"mounts": [{"destination": "/", "type": "tmpfs"}]}, "nothing can be mounted there"),
        ({"annotations": {"org.paracell.runtime": "kvm"}}, "no such runtime: kvm"),
        ({"annotations": {"org.paracell.odd": ""}}, "no such setting"),
        ({"linux": {"devices": [{"path": "x", "type": "c"}]}}, "no device with an absolute path"),
    ],
)
def test_containers_that_cannot_be(oci: Runtime, changes: dict[str, Any], message: str) -> None:
    (oci.root / "file").write_text("")
    oci.config |= changes
    assert message in oci("create", "--bundle", oci.bundle, "c", status=1)
    assert message in oci.messages("error")[-1]
    assert oci("list", "-q") == ""
    assert not list((oci.folder / "run").iterdir())


def test_each_thing_that_has_no_effect_is_told(oci: Runtime) -> None:
    oci.config |= {
        "domainname": "d", "odd": 1, "mounts": [
            {"destination": "/sys", "type": "sysfs", "options": ["ro", "nosuid"]},
            {"destination": "/t", "type": "tmpfs", "options": ["size=64k", "noexec"]},
        ],
        "linux": {
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "sysctl": {"a": "b"}, "cgroupsPath": "/x", "odd": 2,
            "resources": {"cpu": {"shares": 2}, "memory": {"swap": 5}, "devices": [{"allow": False}]},
            "namespaces": [{"type": "network", "path": "/run/netns/x"}, {"type": "pid"}],
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        },
    }  # fmt: skip
    oci.config["process"] |= {"oomScoreAdj": 5, "apparmorProfile": "p", "capabilities": {"bounding": ["CAP_KILL"]}}
    oci.run("true")
    told = "\n".join(oci.messages("warning"))
    for name in (
        "domainname", "odd", "/sys (sysfs)", "/sys nosuid", "/t size=64k,noexec", "linux.seccomp", "linux.sysctl", "linux.cgroupsPath",
        "linux.odd", "linux.resources.cpu", "linux.resources.memory.swap", "joined: network", "linux.uidMappings",
        "process.oomScoreAdj", "process.apparmorProfile", "process.capabilities",
    ):  # fmt: skip
        assert name in told
    assert "devices" not in told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PLACES = (
    "process__args", "process__user", "process__rlimits", "process__cwd", "process__env", "process__consoleSize", "root__path",
    "root__readonly", "mounts", "hostname", "annotations", "hooks__prestart", "linux__namespaces", "linux__devices",
    "linux__resources", "linux__maskedPaths", "ociVersion",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(PLACES), JSON, min_size=1, max_size=3))
@settings(max_examples=300)
def test_no_configuration_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    bundle = tmp_path_factory.getbasetemp()
    (bundle / "config.json").write_text(json.dumps(changed(**values)))
    with contextlib.suppress(OciProblem):
        read(bundle)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "ä", "x" * 1025])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(OciProblem, match="invalid ID format"):
        Store(tmp_path).make(name)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("create",), 1, "Missing argument 'ID'"),
        (("kill", "c", "ODD"), 1, "unknown signal"),
        (("kill", "c", "99"), 1, "unknown signal"),
        (("run", "--bundle", ".", "--memory", "1G", "c"), 2, "not the command line: memory"),
        (("run", "--bundle", ".", "c", "d"), 2, "one argument, the ID"),
        (("run", "--detach", "hello"), 2, "only with --bundle: detach"),
        (("create", "--preserve-fds", "1", "c"), 1, "--preserve-fds"),
    ],
)
def test_command_lines(oci: Runtime, arguments: tuple[str, ...], status: int, message: str) -> None:
    assert message in oci(*arguments, status=status)


# ---- what it says of itself -------------------------------------------------------------------------------------


def test_the_template_runs_as_it_is(oci: Runtime) -> None:
    shutil.rmtree(oci.bundle / "config.json", ignore_errors=True)
    command = [sys.executable, "-m", "paracell", "spec", "--bundle", str(oci.bundle)]
    subprocess.run(command, check=True)
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 1
    assert json.loads((oci.bundle / "config.json").read_text()) == template()
    assert read(oci.bundle).warnings == ()
    oci.config = template()
    oci.config["process"]["terminal"] = False
    assert oci("run", "--bundle", oci.bundle, "c", typed="hostname\nexit 3\n", status=3) == "paracell\n"
    assert not oci.messages("warning")


def test_features() -> None:
    """Only names that runtime-spec's "Features Structure" knows, and true ones."""
    found = features()
    assert set(found) == {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"}
    assert set(found["hooks"]) < {
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    }
    done = subprocess.run([sys.executable, "-m", "paracell", "features"], check=True, capture_output=True)
    assert json.loads(done.stdout) == found


# ---- an engine --------------------------------------------------------------------------------------------------

PODMAN = shutil.which("podman")


@pytest.fixture
def podman(oci: Runtime) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Podman on our runtime, with a storage and an image of its own."""
    wrapper = oci.folder / "runtime"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m paracell --root {oci.folder}/run "$@"\n')
    wrapper.chmod(0o755)
    short = Path(tempfile.mkdtemp())  # podman wants no long name here
    command = [
        *(str(PODMAN), "--root", str(oci.folder / "storage"), "--runroot", str(short), "--tmpdir", str(short / "tmp")),
        *(
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
            "--runtime",
            str(wrapper),
        ),
    ]

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)

    with tarfile.open(oci.folder / "root.tar", "w") as tar:
        tar.add(oci.root, ".")
    done = call("import", "--change", "ENV=PATH=/bin", str(oci.folder / "root.tar"), "it")
    if done.returncode:
        pytest.skip(f"podman does not run here: {done.stderr.strip().splitlines()[-1]}")
    yield call
    call("rm", "-af")
    shutil.rmtree(short, ignore_errors=True)


@pytest.mark.skipif(PODMAN is None, reason="podman is not installed")
def test_podman(oci: Runtime, podman: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    shared = oci.folder / "shared"
    shared.mkdir()
    options = ("run", "--rm", "--network", "none", "-v", f"{shared}:/s", "-e", "A=b")
    done = podman(*options, "it", "sh", "-c", "echo $A; id -u; echo here > /s/f; exit 5")
    if done.returncode in {125, 126} and "conmon" in done.stderr:
        pytest.skip(f"podman does not run here: {done.stderr.strip().splitlines()[-1]}")
    assert (done.returncode, done.stdout) == (5, "b\n0\n"), done.stderr
    assert (shared / "f").read_text() == "here\n"
    assert podman("run", "--rm", "--network", "none", "it", "nothing").returncode == 127
    script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 1; done"
    assert podman("run", "-d", "--name", "d", "--network", "none", "it", "sh", "-c", script).returncode == 0
    until(lambda: podman("logs", "d").stdout == "up\n")
    assert podman("stop", "-t", "20", "d").returncode == 0
    assert podman("logs", "d").stdout == "up\nbye\n"
    assert podman("inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "d").stdout == "3 exited\n"
    assert podman("rm", "d").returncode == 0


def test_signals_by_name() -> None:
    assert {signal_number(t) for t in ("KILL", "sigkill", "9")} == {signal.SIGKILL}
