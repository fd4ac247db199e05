"""`paracell fuzz`: libFuzzer's habits, corpora, processes, a user's own targets, and the ends that may go wrong."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paracell.container import Container
from paracell.emu.sinks.jsonl import JsonLines
from paracell.emu.stop import Reason
from paracell.fuzz import BadTarget, Chance, Options, Target, make_target
from paracell.fuzz.coverage import Coverage
from paracell.fuzz.engine import Engine
from paracell.fuzz.finding import FindingFile
from paracell.fuzz.minimize import minimize
from paracell.fuzz.mutate import mutate_bytes
from paracell.fuzz.program import ProgramTarget
from paracell.fuzz.words import read_words
from paracell.runtimes import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE: Final = 60
STEPS: Final = """
def steps(data):
    if data[:1] == b"F":
        if data[1:2] == b"U":
            raise ValueError("two right")
def slow(data):
    import time
    time.sleep(0.001)
def dies(data):
    import os
    if data[:1] > b"\\xf0":
        os.kill(os.getpid(), 9)
def once(data):
    import os, pathlib
    if data[:1] > b"\\xf0" and not pathlib.Path(__file__).with_name("done").exists():
        pathlib.Path(__file__).with_name("done").touch()
        os.kill(os.getpid(), 9)
"""
FOUND: Final = b"P?" + bytes(61)  # in puzzle: 63 bytes are there, two of them are not data


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "my.py"
    path.write_text(STEPS)
    return path


def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paracell", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=PATIENCE, env=os.environ | more)


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_function_is_led_to_its_mistake_and_the_run_repeats(module: Path, tmp_path: Path) -> None:
    said = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        done = run("fuzz", f"{module}:steps", folder, "-runs=100000", "-seed=3")
        assert done.returncode == 77
        first, saved = done.stdout.splitlines()
        assert "ValueError: two right (line 5 of my.py)" in first
        (crash,) = (folder / "crashes").iterdir()
        assert saved == f"saved as {crash}"
        data = FindingFile.from_bytes(crash.read_bytes()).data
        assert crash.name == f"crash-{hashlib.sha1(data).hexdigest()}"
        assert data.startswith(b"FU")
        assert all(p.name == hashlib.sha1(p.read_bytes()).hexdigest() for p in (folder / "outputs").iterdir())
        said.append((first, names(folder / "outputs"), done.stderr))
    assert said[0] == said[1]
    again = run("replay", crash)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (1, "ValueError: two right (line 5 of my.py)")
    module.write_text(STEPS.replace("raise ValueError", "print"))
    mended = run("replay", crash)
    assert (mended.returncode, mended.stdout.splitlines()[-1]) == (0, "nothing found")
    assert "other images or files" in mended.stderr


def test_any_number_of_processes_does_the_same(tmp_path: Path) -> None:
    """Without findings, so that all rounds are done: the corpus of a machine with coverage and events."""
    kept = []
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        folder.mkdir()
        done = run("fuzz", "gates", folder, "-runs=700", f"-jobs={jobs}")
        assert done.returncode == 0
        kept.append((names(folder / "outputs"), done.stdout, done.stderr))
    assert kept[0] == kept[1]
    assert len(kept[0][0]) > 20


def test_a_process_that_is_killed_is_replaced(module: Path, tmp_path: Path) -> None:
    done = run("fuzz", f"{module}:once", "-runs=600", "-jobs=2", f"-artifact_prefix={tmp_path}/")
    assert done.returncode == 0
    assert "was killed by SIGKILL" in done.stderr
    assert "does its share again" in done.stderr
    assert done.stdout.startswith("600 tries: nothing found")


def test_what_kills_its_process_twice_is_a_finding(module: Path, tmp_path: Path) -> None:
    done = run("fuzz", f"{module}:dies", "-runs=600", "-jobs=2", f"-artifact_prefix={tmp_path}/")
    assert done.returncode == 77
    assert "the process that ran it was killed by SIGKILL" in done.stdout
    (crash,) = tmp_path.glob("crash-*")
    assert FindingFile.from_bytes(crash.read_bytes()).data[:1] > b"\xf0"


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_loses_nothing(module: Path, tmp_path: Path, jobs: int) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    command = [sys.executable, "-m", "paracell", "fuzz", f"{module}:slow", str(folder), f"-jobs={jobs}", "-max_len=4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(PATIENCE * 10):
            if (folder / "outputs").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "interrupted after" in err.splitlines()[-1]
    assert len(names(folder / "outputs")) == 1


def test_a_corpus_is_read_run_and_merged(module: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second / "inputs"):
        folder.mkdir(parents=True)
    (first / "plain").write_bytes(b"xx")
    (second / "inputs" / "f").write_bytes(b"F-")
    (second / "inputs" / "long").write_bytes(b"F--------")
    target = f"{module}:steps"
    done = run("fuzz", target, first, second, "-runs=0")
    assert (done.returncode, done.stdout.partition(";")[0]) == (0, "3 inputs: nothing found")
    assert not (first / "outputs").exists()
    done = run("fuzz", target, first, second, "-merge=1")
    assert done.returncode == 0
    assert names(first / "outputs") == {hashlib.sha1(b"F-").hexdigest()}  # the shorter of two that show the same
    (second / "inputs" / "bad").write_bytes(b"FU")
    done = run("fuzz", target, first, second, "-runs=0", f"-artifact_prefix={tmp_path}/")
    assert done.returncode == 77
    assert done.stdout.startswith("an input of the corpus: ValueError")
    (crash,) = tmp_path.glob("crash-*")
    assert run("fuzz", target, crash, f"-artifact_prefix={tmp_path}/").returncode == 77  # a finding is an input, too


@pytest.mark.parametrize(
    "words",
    [
        ("syscalls", "-differential=paracell,foo"),
        ("walk", "-oracle=x.py:y"),
        ("images", "-oracle=x.py:y"),
        *(("walk", f"-{name}=2") for name in ("nested", "merge", "minimize_crash")),
    ],
)
def test_options_that_a_target_has_not(words: tuple[str, ...]) -> None:
    done = run("fuzz", *words, "-runs=1")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")


def test_a_corpus_that_cannot_be_read(module: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "loop").symlink_to("loop")
    (tmp_path / "corpus" / "x").write_bytes(b'{\n "paracell": "finding", broken')
    done = run("fuzz", f"{module}:steps", tmp_path / "corpus", "-runs=1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "corpus/x: no finding" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_finding_is_told_when_the_disk_is_full(module: Path) -> None:
    done = run("fuzz", f"{module}:steps", "-seed=3", "-runs=100000", "-exact_artifact_path=/dev/full")
    assert done.returncode == 2
    first, second = done.stdout.splitlines()
    assert "two right" in first
    assert bytes.fromhex(second.removeprefix("its input: ")).startswith(b"FU")
    assert done.stderr.splitlines()[-1] == "paracell: No space left on device: /dev/full"


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("1 / 0", "f", "raised at its import: ZeroDivisionError"),
        ("def f(:", "f", "raised at its import: SyntaxError"),
        ("import no_such_module", "f", "no_such_module"),
        ("f = 3", "f", "is no function"),
        ("", "f", "has no f"),
        ("", "", "which function?"),
    ],
)
def test_a_module_that_is_none(text: str, name: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "my.py"
    path.write_text(text)
    with pytest.raises(BadTarget, match=says.replace("?", r"\?")):
        make_target(f"{path}:{name}")


@pytest.mark.parametrize("program", ["hello", "/bin/sh", __file__])
def test_a_program_that_is_none(program: str) -> None:
    with pytest.raises(ValueError, match=r"symbol LLVMFuzzer|not a static program|ELF|which function"):
        make_target(program)


@pytest.mark.parametrize("nested", [False, True], ids=["", "nested"])
@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_a_program_is_run_under_each_runtime(runtime: str, nested: bool) -> None:
    with closing(make_target("puzzle", Options(runtime=runtime, nested=nested))) as target:
        outcomes = []
        for data in (b"", b"Q" * 5000, b"P\1\1\1", b"PUZ!!!!", FOUND, b"P\1\1\1"):
            found = target.run(data)
            outcomes.append((found.what if found else None, target.outcome()))
        dead = {3: "the program died of SIGABRT", 4: "the program died of SIGSEGV"}
        assert [what for what, _ in outcomes] == [dead.get(n) for n in range(6)]
        assert outcomes[2] == outcomes[5] == (None, ("reached", 1, (b"", b"", b"")))
        assert target.machine is not None


def test_a_program_that_does_not_come_back() -> None:
    with closing(ProgramTarget(Options(argument="puzzle"))) as target:
        target.most_blocks = 20
        assert str(target.run(b"P\xff" + bytes(400))) == "it has not returned after 20 blocks"
        assert target.run(b"P\1\1\1") is None


def test_two_runtimes_agree_and_a_difference_is_found() -> None:
    with closing(make_target("puzzle", Options(differential=("native", "pvm")))) as target:
        assert target.run(b"P\1\1\1") is None
        assert str(target.run(FOUND)).startswith("the program died of SIGSEGV")
        second = target.second  # type: ignore[attr-defined]
        machine, at = second.machine, second._pages[second._buffer + second._room - 1 >> 12]
        second.place = lambda _data: machine.memory.write(at, b"P") is None  # another input: the registers stay
        assert str(target.run(b"P\1\1\1")).startswith("native: ('reached', 1,")


def traces(target: Target, inputs: Sequence[bytes]) -> list[bytes]:
    """Give the JSON Lines trace of each input's run."""
    assert target.machine is not None
    made = []
    for data in inputs:
        file = io.BytesIO()
        sink = JsonLines(file, target.machine.symbols.name)
        target.machine.add_sink(sink)
        target.run(data)
        target.machine.remove_sink(sink)
        sink.close()
        made.append(file.getvalue())
    return made


@pytest.mark.parametrize("spec", ["gates", "pager", "puzzle"])
def test_coverage_changes_nothing(spec: str) -> None:
    """The same inputs on two machines, one of which somebody collects coverage of: the same events, byte for byte."""
    with closing(make_target(spec)) as plain, closing(make_target(spec)) as covered:
        inputs = [plain.generate(Chance(n)) for n in range(8)] + ([FOUND] if spec == "puzzle" else [])
        coverage = Coverage(covered)
        without, with_it = traces(plain, inputs), traces(covered, inputs)
        assert coverage.take()
        coverage.close()
    assert without == with_it
    assert any(without)


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_a_run_of_a_container_is_the_same_with_coverage(runtime: str) -> None:
    class Whole(Target):
        def run(self, data: bytes, tell: object = None) -> None:
            raise NotImplementedError

    made = []
    for covered in (False, True):
        with Container("hello", runtime=runtime) as container:
            target = Whole(Options())
            target.machine = container.inner
            coverage = Coverage(target) if covered else None
            file = io.BytesIO()
            sink = JsonLines(file, container.symbols.name)
            container.inner.add_sink(sink)
            end = container.run()
            sink.close()
            made.append((file.getvalue(), end.stdout, container.cycles))
            assert not coverage or len(coverage.take()) > 100
    assert made[0] == made[1]


def test_a_prepared_machine_stands_at_the_first_instruction() -> None:
    with closing(make_target("puzzle")) as target:
        machine = target.prepare(FOUND)
        assert machine.symbols.name(machine.cpu.q[16]) == "puzzle!LLVMFuzzerTestOneInput"
        assert machine.cpu.q[6] == len(FOUND)
        assert machine.run().reason in {Reason.EXIT, Reason.REACHED}


def test_a_finding_gets_shorter(tmp_path: Path) -> None:
    with closing(make_target("puzzle")) as target:
        shorter = minimize(target, FOUND[:2] + bytes(range(61)))
        assert len(shorter) <= len(FOUND)
        assert target.run(shorter)
        assert minimize(target, b"all is well") == b"all is well"
    long = tmp_path / "long"
    long.write_bytes(b"PUZ!" + b"x" * 60)
    done = run("fuzz", "puzzle", "-minimize_crash=1", long, f"-artifact_prefix={tmp_path}/")
    assert done.returncode == 77
    assert done.stdout.startswith("64 bytes, of which 7 are enough\n")
    (path,) = tmp_path.glob("minimized-from-*")
    assert FindingFile.from_bytes(path.read_bytes()).data[:4] == b"PUZ!"


def test_pytest_collects_findings(module: Path, tmp_path: Path) -> None:
    folder = tmp_path / "findings"
    folder.mkdir()
    for name, spec, data in (("a", "puzzle", FOUND), ("b", f"{module}:steps", b"FU"), ("c", "puzzle", b"fine")):
        with closing(make_target(spec)) as target:
            found = target.run(data) or target.run(FOUND)
            assert found
            finding = FindingFile(spec, Options(), found, data, target.digest())
            (folder / f"crash-{name}").write_text(finding.to_json(target))
    (folder / "crash-d").write_text("no finding")
    (folder / "other").write_text("nothing to collect")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
        "-p",
        "paracell.fuzz.pytest_plugin",
        ".",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, text=True)
    assert "died of SIGSEGV" in done.stdout
    assert "ValueError: two right" in done.stdout
    assert "no finding of paracell fuzz" in done.stdout
    assert "2 failed, 1 passed, 1 error" in done.stdout


def test_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text('# words\n\nkw="PUZ!"\n"\\x00\\\\\\""\n')
    assert read_words(str(path)) == (b"PUZ!", b'\0\\"')
    path.write_text("nonsense")
    with pytest.raises(BadTarget, match="line 1"):
        read_words(str(path))


def test_mutations_stay_in_bounds_and_differ() -> None:
    made = {mutate_bytes(b"abcdefgh", b"12345678", (b"word",), 16, Chance(n)) for n in range(500)}
    assert len(made) > 400
    assert all(len(data) <= 16 for data in made)
    assert any(b"word" in data for data in made)
    assert mutate_bytes(b"", b"", (), 4, Chance(1)) == mutate_bytes(b"", b"", (), 4, Chance(1))


def test_the_engine_is_a_library(module: Path) -> None:
    spec = f"{module}:steps"
    with closing(make_target(spec)) as target:
        engine = Engine(target, spec, seed=3)
        finding = engine.run(100_000)
        assert finding
        assert finding.data.startswith(b"FU")
        assert engine.features == 2
        engine.close()


def test_a_rule_of_ones_own_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "rule.py"
    path.write_text(
        "from paracell import Kind, oracle\n"
        "@oracle.rule\n"
        "def no_exception(machine, event):\n"
        "    return 'an exception' if event.kind is Kind.EXCEPTION else None\n"
    )
    done = run("fuzz", "gates", f"-oracle={path}:no_exception", "-runs=200", f"-artifact_prefix={tmp_path}/")
    assert done.returncode == 77
    assert ": an exception, at 0x" in done.stdout
    (crash,) = tmp_path.glob("crash-*")
    assert run("replay", crash).stdout.splitlines()[-1].startswith("an exception, at 0x")
