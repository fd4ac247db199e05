"""Where Unicorn keeps what it exports no name for: found anew in each engine, by what changes when we make it change.

::

    uc_struct ┬ hook[UC_HOOK_CODE] head        what changes when the first hook on code comes
              ├ emu_counter, emu_count         a mark given as the limit of a run
              ├ invalid_addr, invalid_error    the address of a refused fill
              └ no_exit_request                at a distance from there
    CPUState  ┬ exit_request
              └ exception_index, uc, …, tcg_exit_req    around the pointer back to uc_struct

A library that differs is refused with `UnicornMismatch`, here or by `layout.verify`.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from . import layout
from .callbacks import CODE, LEAN
from .layout import UnicornMismatch
from .peek import find_pointed_at, read_around

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import Engine

_HANDLE_SIZE: Final = 8192  # of `uc_struct`, as far as we look
_SERIAL: Final = itertools.count(1)
_COUNT_MARK: Final = 0x5EA1C0DE
_HOOK_INTR, _HOOK_CODE, _HOOK_BLOCK, _HOOK_TLB_FILL = 1 << 0, 1 << 2, 1 << 3, 1 << 17
_HOOK_BEGIN: Final = 24  # in Unicorn's struct hook: first address, last address, callback
_HOOK_CALLBACK: Final = 40
_NO_EXCEPTION: Final = 0xFFFFFFFF
_EXIT_REQUEST: Final = 21  # in CPUState
# Around the pointer to uc_struct in CPUState.
_EXCEPTION_INDEX: Final = -8
_TCG_EXIT_REQUEST: Final = 16
_NO_EXIT_REQUEST: Final = 618  # in uc_struct, from invalid_addr
_SCRATCH: Final = 0xF000_0000  # in the hole below 4 GiB, which no RAM fills
_ROOM: Final = 64  # bytes for each of the programs there
_WANTED: Final = 0x1234_5678_9ABD
# mov rax,[rdi]; mov [rdi],rax; add [rdi],eax; movups xmm0,[rdi]; jmp rdi
_FAULTING: Final = ("488b07", "488907", "0107", "0f1007", "ffe7")
_ONE_BLOCK: Final = "90 ffc0 ebfe"  # nop; inc eax; jmp $
_TWO_BLOCKS: Final = "eb0090 90 f4"  # jmp +0; nop; nop; hlt: two blocks, three instructions before HLT


class Places(NamedTuple):
    """What was found.

    Attributes:
        fault_offset: where, beside the TLB entry on Unicorn's stack, a refused fill keeps its exact address.
        counter: [0] what has been counted since the last start, [1] the limit that stops the run.
        instructions, blocks: the first and the last address that Unicorn's counting hook is for, by instruction and by block.
        invalid_error, exit_request, tcg_exit_request: what a refused fill sets so that Unicorn leaves.
        exception_index: the exception that TCG delivers next.
        no_exit_request: while it is 1, code is translated without looks for a request to leave within a block.

    """

    fault_offset: int
    counter: memoryview
    instructions: memoryview
    blocks: memoryview
    invalid_error: memoryview
    exit_request: memoryview
    tcg_exit_request: memoryview
    exception_index: memoryview
    no_exit_request: memoryview


def find_state(handle: int, write_register: Callable[[int, bytes], None]) -> int:
    """Find CPUState, and CPUX86State in it, behind the handle by sixteen values that occur nowhere else."""
    # Another sixteen each time: memory that an earlier engine has freed still holds its own.
    first = 16 * next(_SERIAL)
    marks = [(0x51EA << 48 | 0x9E3779B97F4A7C15 * i) & (1 << 64) - 1 for i in range(first, first + 16)]
    for number, mark in zip(layout.GENERAL_REGISTERS, marks, strict=True):
        write_register(number, struct.pack("<Q", mark))
    found = find_pointed_at(handle, struct.pack("<16Q", *marks), layout.STATE)
    if found is None:
        raise UnicornMismatch("the live CPU state was not found behind the engine's handle")
    return found


def calibrate(engine: Engine) -> Places:
    """Find everything in an engine that has not run yet, and leave it as it was."""
    scratch = (ctypes.c_char * 8192)()
    pointer = ctypes.addressof(scratch) + 4095 & ~4095
    engine.map_ram(_SCRATCH, 4096, pointer)
    before = bytes(engine.raw)
    hflags = layout.HFLAGS >> 2
    engine.d[hflags] = engine.d[hflags] & ~3 | layout.HF_LMA | layout.HF_CS64 | 3
    trial = _Trial(engine, pointer)
    fault_offset = trial.find_fault_address()
    invalid, exit_request, tcg_exit, exception, no_exit_request = trial.find_exception()
    trial.run(_FAULTING[0], _COUNT_MARK)
    counter = _find_counter(engine)
    code_hooks = _find_code_hooks(engine)
    trial.run(_FAULTING[0], _COUNT_MARK)
    instructions, blocks = _find_counting_hooks(engine, code_hooks)
    found = Places(
        fault_offset, counter, instructions, blocks, invalid, exit_request, tcg_exit, exception, no_exit_request
    )  # fmt: skip
    trial.check_counting(found)
    trial.check_leaving(found)
    trial.check_going_on(found)
    engine.raw[:] = before
    trial.close()
    engine.flush_slots()
    engine.unmap(_SCRATCH, 4096)
    return found


class _Trial:
    """Runs small programs on a scratch page; every other page refuses."""

    def __init__(self, engine: Engine, pointer: int) -> None:
        self._engine = engine
        self._pointer = pointer
        self._at = 0  # where the next program goes: each runs once, so that no translated code need be dropped
        self._near: list[set[int]] = []
        self._going_on: Places | None = None
        self._hooks = [engine.hook(_HOOK_TLB_FILL, LEAN.fill(self._fill))]

    def close(self) -> None:
        for hook in self._hooks:
            self._engine.unhook(hook)

    def run(self, program: str, limit: int = 0) -> int:
        """Run a program (hexadecimal code) with RDI at the page that refuses; Unicorn's error code."""
        code, at = bytes.fromhex(program), self._at
        self._at += _ROOM
        ctypes.memmove(self._pointer + at, code, len(code))
        self._engine.q[7] = _WANTED
        return self._engine.start(_SCRATCH + at, limit)

    def _fill(self, _engine: int, page: int, _kind: int, entry: int) -> bool:
        if page == _SCRATCH:
            self._engine.entry(entry)[0:2] = memoryview(struct.pack("<QQ", _SCRATCH, 7)).cast("Q")
            return True
        around = range(-256, 0, 8)
        self._near.append({k for k in around if ctypes.c_uint64.from_address(entry + k).value == _WANTED})
        if self._going_on is not None:
            self._going_on.exception_index[0] = 14
        return False

    def find_fault_address(self) -> int:
        """Find the exact address of a refused fill, of which the callback is told only the page.

        It is a local of Unicorn's own function, at a constant distance from the entry that the callback is given.  Several
        kinds of access at an odd address agree on one distance; `layout.check_fault` checks it at each use.
        """
        for program in _FAULTING:
            self.run(program)
        common = set.intersection(*self._near) if len(self._near) == len(_FAULTING) else set()
        if not common:
            raise UnicornMismatch("the exact address of a page fault was not found")
        return max(common)

    def find_exception(self) -> tuple[memoryview, memoryview, memoryview, memoryview, memoryview]:
        """Find invalid_error, exit_request, tcg_exit_req, exception_index and no_exit_request."""
        engine = self._engine
        self.run(_FAULTING[0])
        at = read_around(engine.handle, _HANDLE_SIZE).find(struct.pack("<Q", _WANTED))
        if at < 0:
            raise UnicornMismatch("the address of a refused fill was not found")
        back = read_around(engine.cpu_state, layout.STATE).rfind(struct.pack("<Q", engine.handle))
        if back < 0:
            raise UnicornMismatch("CPUState does not point back to the engine")
        base = engine.cpu_state
        exception = _words(base + back + _EXCEPTION_INDEX, ctypes.c_uint32)
        if exception[0] != _NO_EXCEPTION:
            raise UnicornMismatch(f"exception_index is {exception[0]:#x} at rest")
        return (
            _words(engine.handle + at + 8, ctypes.c_uint32),
            _words(base + _EXIT_REQUEST, ctypes.c_ubyte),
            _words(base + back + _TCG_EXIT_REQUEST, ctypes.c_uint32),
            exception,
            _words(engine.handle + at + _NO_EXIT_REQUEST, ctypes.c_ubyte),
        )

    def check_counting(self, places: Places) -> None:
        """Check that each hook counts its own kind."""
        self._hooks.append(self._engine.hook(_HOOK_INTR, LEAN.interrupt(lambda *_: self._engine.stop())))
        nowhere = (1 << 64) - 1
        for bounds, other, expected in (
            (places.instructions, places.blocks, 4),
            (places.blocks, places.instructions, 2),
        ):
            bounds[0], bounds[1] = 1, 0
            other[0] = other[1] = nowhere
            self.run(_TWO_BLOCKS, _COUNT_MARK)
            if places.counter[0] != expected:
                raise UnicornMismatch(f"{places.counter[0]} were counted where {expected} ran")
        places.instructions[0] = places.instructions[1] = places.blocks[0] = places.blocks[1] = nowhere

    def check_leaving(self, places: Places) -> None:
        """Check that a hook can have TCG leave before its instruction, and, where code is translated with `no_exit_request`, cannot."""
        engine = self._engine
        if places.no_exit_request[0]:
            raise UnicornMismatch("no_exit_request was not found")
        for unchecked in (0, 1):
            places.no_exit_request[0] = unchecked
            at = _SCRATCH + self._at + 1
            hook = engine.hook_code(at, CODE(lambda *_: engine.stop()))
            engine.q[0] = 0
            self.run(_ONE_BLOCK, _COUNT_MARK)
            places.no_exit_request[0] = 0
            engine.unhook(hook)
            if engine.q[0] != unchecked:
                raise UnicornMismatch("no_exit_request does not do what it should")

    def check_going_on(self, places: Places) -> None:
        """Check that a run survives a refused fill if it is told to."""
        engine, seen = self._engine, []

        def interrupt(_engine: int, vector: int) -> None:
            engine.d[layout.OLD_EXCEPTION >> 2] = _NO_EXCEPTION
            seen.append((vector, engine.q[16] % _ROOM))
            if vector == 14:
                places.invalid_error[0] = places.exit_request[0] = places.tcg_exit_request[0] = 0
                engine.q[16] += 3  # past the access
            else:
                engine.stop()

        engine.unhook(self._hooks.pop())
        self._hooks.append(engine.hook(_HOOK_INTR, LEAN.interrupt(interrupt)))
        self._going_on = places
        error = self.run("90" + _FAULTING[0] + "f4", _COUNT_MARK)  # nop; mov rax, [rdi]; hlt
        if error or seen != [(14, 1), (13, 4)]:
            raise UnicornMismatch(f"a refused fill as an exception gives error {error} and {seen}")


def _words(address: int, kind: type[ctypes.c_uint64 | ctypes.c_uint32 | ctypes.c_ubyte], count: int = 1) -> memoryview:
    """Lay a view of `count` numbers over memory."""
    view = memoryview((kind * count).from_address(address)).cast("B")
    size = ctypes.sizeof(kind)
    return view.cast("Q") if size == 8 else view.cast("I") if size == 4 else view


def _find_counter(engine: Engine) -> memoryview:
    """Find Unicorn's count: it stands beside the limit that the last run was given."""
    at = read_around(engine.handle, _HANDLE_SIZE).find(struct.pack("<Q", _COUNT_MARK)) - 8
    if at < 0:
        raise UnicornMismatch("the counter of retired instructions was not found")
    return _words(engine.handle + at, ctypes.c_uint64, 2)


def _find_code_hooks(engine: Engine) -> memoryview:
    """Find the head of the list of hooks on code: what changes when the first one is added."""
    engine.start(engine.q[16], 0)  # without a limit Unicorn's own counting hook goes
    before = read_around(engine.handle, _HANDLE_SIZE)
    hook = engine.hook(_HOOK_CODE, CODE(lambda *_: None), begin=1, end=1)
    after = read_around(engine.handle, _HANDLE_SIZE)
    places = [i for i in range(0, len(before), 8) if before[i : i + 8] != after[i : i + 8]]
    heads = [i for i in places if before[i : i + 8] == bytes(8) and after[i : i + 8] == after[i + 8 : i + 16]]
    engine.unhook(hook)
    if len(heads) != 1:
        raise UnicornMismatch("the list of code hooks was not found")
    return _words(engine.handle + heads[0], ctypes.c_uint64)


def _find_counting_hooks(engine: Engine, code_hooks: memoryview) -> tuple[memoryview, memoryview]:
    """Find the addresses that Unicorn's counting hook is for, and add the same callback once more, as a hook on blocks.

    It is the first hook in the list, for all addresses (1 to 0).
    """
    if not code_hooks[0]:
        raise UnicornMismatch("no hook counts instructions")
    hook = ctypes.c_uint64.from_address(code_hooks[0] + 8).value
    instructions = bounds(hook)
    if tuple(instructions) != (1, 0):
        raise UnicornMismatch("the hook that counts instructions was not found")
    callback = ctypes.c_void_p.from_address(hook + _HOOK_CALLBACK)
    added = engine.hook(_HOOK_BLOCK, callback, begin=1, end=0)
    return instructions, bounds(added)


def bounds(hook: int) -> memoryview:
    """Lay a view over the first and the last address that a hook is for."""
    return _words(hook + _HOOK_BEGIN, ctypes.c_uint64, 2)
