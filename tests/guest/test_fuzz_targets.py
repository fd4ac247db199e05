"""The targets that ship: nothing is found where nothing is planted, the same input comes to the same, and bad input is a line."""

from __future__ import annotations

import re
import struct
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu import features
from paracell.fuzz import BadTarget, Chance, Options, make_target
from paracell.fuzz.bounded import TooLong, Watched
from paracell.fuzz.call_arguments import AREA, KINDS, argument
from paracell.fuzz.call_arguments import BASE as BASE_OF_AREA
from paracell.fuzz.call_table import CALLS
from paracell.fuzz.entry_states import BASE
from paracell.fuzz.mistakes import Mistake, planted
from paracell.fuzz.model.vm_entry import Processor, judge
from paracell.fuzz.scripts import SIZE, STEP_SIZE, STEPS, Step, changed, in_memory, pack, unpack
from paracell.vmx.fields import Field

if TYPE_CHECKING:
    from paracell.fuzz import Target

ROOT: Final = Path(__file__).parents[2]
# Target, runtime, tries that are made each time.
SLICES: Final = (
    ("walk", None, 4000),
    ("vmentry", None, 200),
    ("images", None, 150),
    ("hypercalls", "paracell", 40),
    ("hypercalls", "pvm", 40),
    ("hypercalls", "runv", 10),
    ("syscalls", "paracell", 6),
    ("syscalls", "native", 8),
    ("syscalls", "runv", 6),
)
# Left out of the table of calls: the caller would come to be two, or nobody.
NOT_MADE: Final = {
    "fork",
    "vfork",
    "clone",
    "clone3",
    "exit",
    "exit_group",
    "rt_sigreturn",
    "execve",
    "execveat",
    "reboot",
}


def tries(target: Target, count: int, seed: int = 1) -> list[tuple[int, str]]:
    """Make so many inputs, and change each once; give what was found."""
    found, before = [], b""
    for n in range(count):
        chance = Chance(f"{seed}:{n}")
        data = target.generate(chance) if n % 2 == 0 else target.mutate(before, before, chance)
        come = target.run(data)
        if come:
            found.append((n, str(come)))
        before = data
    return found


@pytest.mark.parametrize(("name", "runtime", "count"), SLICES)
def test_nothing_is_found_where_nothing_is_planted(name: str, runtime: str | None, count: int) -> None:
    with closing(make_target(name, Options(runtime=runtime))) as target:
        assert tries(target, count) == []


@pytest.mark.sweep
@pytest.mark.parametrize("nested", [False, True], ids=["bare", "nested"])
@pytest.mark.parametrize(("name", "runtime", "count"), SLICES)
def test_nothing_is_found_in_many_tries(name: str, runtime: str | None, count: int, nested: bool) -> None:
    if nested and name in {"walk", "images"}:
        pytest.skip("it has no guest")
    with closing(make_target(name, Options(runtime=runtime, nested=nested))) as target:
        assert tries(target, 40 * count, seed=2) == []


@pytest.mark.sweep
def test_system_calls_answer_the_same_under_two_runtimes() -> None:
    with closing(make_target("syscalls", Options(differential=("native", "paracell")))) as target:
        assert tries(target, 300) == []


@pytest.mark.parametrize(("name", "runtime"), [("hypercalls", "paracell"), ("vmentry", None)])
def test_an_input_shows_the_same_again(name: str, runtime: str | None) -> None:
    with closing(make_target(name, Options(runtime=runtime))) as target:
        data = target.generate(Chance("again"))
        told: list[list[str]] = []
        for _ in range(2):
            lines: list[str] = []
            assert target.run(data, lines.append) is None
            told.append(lines)
        assert told[0]
        assert told[0][-3:] == told[1][-3:]
        assert target.describe(data)


def test_what_the_calls_write_to_the_console_is_no_answer() -> None:
    text = b"user.name"
    write = Step(1, (1, BASE_OF_AREA + AREA.index(text), len(text)))
    with closing(make_target("syscalls", Options(runtime="native"))) as target:
        assert target.run(pack([write, Step(39)])) is None
        assert target.outcome() == (f"0: write {len(text)}", "1: getpid 2")


@pytest.mark.parametrize("runtime", ["native", "paracell"])
def test_a_process_may_take_the_time_of_the_first_one(runtime: str) -> None:
    """Linux kills it for that, and the container ends; what did not ask for that may not come to it."""
    zeros = BASE_OF_AREA - 4096  # results, of which there are none yet
    with closing(make_target("syscalls", Options(runtime=runtime))) as target:
        assert target.run(pack([Step(302, (1, 0, zeros))])) is None  # RLIMIT_CPU of process 1
        assert target.outcome() == ()
        assert target.run(pack([Step(302, (1, 7, 0, BASE_OF_AREA + 4096))])) is None  # another limit, read
        assert target.outcome() == ("0: prlimit64 0",)


# ---- scripts ---------------------------------------------------------------------------------------------------------


def test_a_script_is_packed_and_unpacked() -> None:
    steps = [Step(3, (1, 2, 3, 4, 5, 6)), Step(0x100, (0, 0, 0, 0, 0, 1 << 63), 0b100000)]
    assert unpack(pack(steps)) == steps
    assert unpack(pack(steps) + b"cut") == steps
    assert len(unpack(pack([Step(1)] * 99))) == STEPS
    assert in_memory(pack(steps)) == struct.pack("<QQ", 2, 0) + pack(steps).ljust(SIZE, b"\0")
    assert str(steps[1]) == "0x100(0x0, 0x0, 0x0, 0x0, 0x0, r9223372036854775808)"


def test_a_step_that_is_put_in_moves_the_names_of_results() -> None:
    steps = [Step(1), Step(2, (0,), 1), Step(3, (1,), 1)]
    assert [s.moved(2, 1) for s in steps] == [Step(1), Step(2, (0,), 1), Step(3, (3,), 1)]
    chance = Chance(1)
    made = pack(steps)
    for _ in range(300):
        made = changed(made, pack(steps), lambda _: [Step(9)], lambda: 7, chance)
        assert len(made) % STEP_SIZE == 0
        assert len(made) <= SIZE


def test_the_layout_is_the_guests() -> None:
    text = (ROOT / "guest/attacks/script.h").read_text()
    assert f"#define SCRIPT_STEPS {STEPS}" in text
    assert "struct step { u32 what, names; u64 a[SCRIPT_ARGUMENTS]; };" in text


# ---- system calls ------------------------------------------------------------------------------------------------------


def test_each_call_of_the_kernel_is_described() -> None:
    rows = re.findall(r"SYSCALL\((\d+), (\w+), \((.*?)\)\)", (ROOT / "guest/kernel/syscall/syscalls.def").read_text())
    offered = {
        (int(n), name): 0 if args == "void" else args.count(",") + 1 for n, name, args in rows if name not in NOT_MADE
    }
    described = {(c.number, c.name): len(c.arguments) for c in CALLS}
    assert described == offered


def test_each_word_of_the_table_means_something() -> None:
    chance = Chance(1)
    for call in CALLS:
        for word in call.arguments:
            assert 0 <= argument(word, chance) < 1 << 64
        assert not call.gives or any(call.gives in kinds for kinds in KINDS.values()) or call.gives == "wd"
    assert len(AREA) < 0x6000


# ---- VM entry ----------------------------------------------------------------------------------------------------------


def test_the_model_of_vm_entry_takes_the_base_and_breaks_by_one_bit() -> None:
    caps = features.parse("pks,+vmx").vmx
    assert caps is not None
    fields = dict.fromkeys((f.name for f in Field), 0) | {f.name: v for f, v in BASE.items()}
    processor = Processor(caps.msrs, caps.maxphyaddr, 0xD01, 3, long_mode=True, current=0x2000, read=lambda _: 0)
    assert judge(fields, processor).outcomes == {("enters", 0)}
    for name, bit, outcome in (
        ("GUEST_RFLAGS", 1, ("exits", 0)),
        ("VMCS_LINK_POINTER", 4, ("exits", 4)),
        ("HOST_CR0", 31, ("fails", 8)),
        ("PIN_CONTROLS", 1, ("fails", 7)),
    ):
        assert judge(fields | {name: fields[name] ^ 1 << bit}, processor).outcomes == {outcome}


# ---- the watch over Python ------------------------------------------------------------------------------------------------


def test_lines_are_counted_and_bounded() -> None:
    watched = Watched(("test_fuzz_targets",))

    def loop(count: int) -> int:
        total = 0
        for n in range(count):
            total += n
        return total

    seen = []
    for _ in range(2):
        assert watched.run(partial(loop, 10), 1000) == 45
        seen.append((watched.count, watched.edges))
    assert seen[0] == seen[1]
    assert len(seen[0][1]) >= 4
    with pytest.raises(TooLong):
        watched.run(partial(loop, 1 << 40), 1000)
    assert 1000 < watched.count < 1010


# ---- bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("hypercalls", Options(runtime="native"), "native has no host"),
        ("hypercalls", Options(runtime="pvm", off=("ports",)), "has no defence ports"),
        ("syscalls", Options(runtime="none"), "none"),
        ("syscalls", Options(runtime="native", off=("usercopy",)), "not native's"),
        ("walk", Options(off=("keys",)), "no such defence"),
    ],
)
def test_a_target_that_cannot_be_made_says_why(name: str, options: Options, says: str) -> None:
    with pytest.raises(BadTarget, match=says) as refusal:
        make_target(name, options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["walk", "vmentry", "images"])
def test_any_bytes_are_an_input(name: str) -> None:
    with closing(make_target(name)) as target:
        for data in (b"", b"\xff", b"\0" * 5, bytes(range(256)) * 3):
            assert target.run(data) is None
            assert target.describe(data)


def test_a_planted_mistake_is_gone_behind_the_run() -> None:
    class Part:
        value = 1

    with planted([Mistake("x", Part, "value", lambda right: right + 1)]):
        assert Part.value == 2
    assert Part.value == 1
