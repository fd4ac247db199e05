"""The registers that gdb sees: QEMU's for x86-64, by its names and in its order, and behind them what QEMU lacks.

::

    0 rax rbx rcx rdx rsi rdi rbp rsp r8 … r15 │ 16 rip eflags cs ss ds es fs gs │ 24 fs_base gs_base k_gs_base
    27 cr0 cr2 cr3 cr4 cr8 efer │ 33 st0 … st7 fctrl … fop │ 49 xmm0 … xmm15 mxcsr │ 66 pkru │ 67 ring domain vmx …

QEMU keeps the first 66 in one feature; here the XMM registers are in the feature that gdb's manual has for them ("i386 Features"),
which changes no number.  A register of ours can be read, and be watched, as any other.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu import layout, xsave
from ..emu.msr_index import IA32_KERNEL_GS_BASE
from ..emu.registers import FS, GS
from .state import DOMAINS, VMX, domain, last_exit, ring, tag, vmx
from .xml import CORE_TYPES, OWN_TYPES, PKRU_TYPES, SSE_TYPES, document

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..machine import Machine
    from .threads import Asleep

CORE, SSE, PKEYS = "org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.gnu.gdb.i386.pkeys"
OWN: Final = "org.paracell.state"


@frozen
class Register:
    """One register.

    Attributes:
        name: as gdb calls it, behind the dollar sign.
        bits: its width.
        type: of the target description.
        read: gives its value.
        write: sets it, or None where that makes no sense; ``ValueError`` for a value that it cannot take.
        feature: where the target description has it.
        group: gdb's register group, or "".

    """

    name: str
    bits: int
    type: str
    read: Callable[[Machine], int]
    write: Callable[[Machine, int], None] | None = None
    feature: str = CORE
    group: str = ""

    @property
    def size(self) -> int:
        """How many bytes it has in packets."""
        return self.bits >> 3

    def packed(self, machine: Machine) -> bytes:
        """Give its value, least significant byte first."""
        return self._pack(self.read(machine))

    def kept(self, asleep: Asleep) -> bytes:
        """Give that of a container that does not run; nothing where it is kept nowhere."""
        value = {"rip": asleep.rip, "rsp": asleep.rsp, "domain": DOMAINS.index("host"), "ring": 0}.get(self.name)
        return b"" if value is None else self._pack(value)

    def _pack(self, value: int) -> bytes:
        return (value & (1 << self.bits) - 1).to_bytes(self.size, "little")


def _of_processor(name: str, bits: int, type_: str, attribute: str = "", *, fixed: bool = False) -> Register:
    attribute = attribute or name

    def read(machine: Machine) -> int:
        return int(getattr(machine.cpu, attribute))

    def write(machine: Machine, value: int) -> None:
        setattr(machine.cpu, attribute, value)

    return Register(name, bits, type_, read, None if fixed else write)


def _selector(name: str) -> Register:
    return Register(name, 32, "int32", lambda machine: machine.cpu.segments[name].selector)


def _base(name: str, number: int) -> Register:
    def write(machine: Machine, value: int) -> None:
        machine.inner.cpu.set_segment_base(number, value)

    return Register(name, 64, "int64", lambda machine: machine.inner.cpu.segment(number).base, write)


def _set_kernel_gs(machine: Machine, value: int) -> None:
    cpu = machine.inner.cpu
    cpu.msr[IA32_KERNEL_GS_BASE] = value
    cpu.switched_msrs = None
    cpu.forget_transitions()


def _float(name: str, read: Callable[[bytes], int]) -> Register:
    """Give a word of the x87 environment, from a legacy region of XSAVE."""
    return Register(name, 32, "int", lambda machine: read(xsave.x87_image(machine.inner.cpu)), group="float")


def _tags(image: bytes) -> int:
    """Give the full tag word that gdb shows: 3 for an empty register, and 0, valid, for every other."""
    return sum((0 if image[4] >> i & 1 else 3) << 2 * i for i in range(8))


def _stack(i: int) -> Register:
    def at(machine: Machine) -> int:
        return layout.FPREGS + 16 * ((machine.inner.cpu.d[layout.FPSTT >> 2] + i) & 7)

    def read(machine: Machine) -> int:
        return int.from_bytes(machine.inner.engine.raw[at(machine) : at(machine) + 10], "little")

    def write(machine: Machine, value: int) -> None:
        machine.inner.engine.raw[at(machine) : at(machine) + 10] = value.to_bytes(10, "little")

    return Register(f"st{i}", 80, "i387_ext", read, write)


def _xmm(i: int) -> Register:
    at = layout.XMM + 64 * i

    def read(machine: Machine) -> int:
        return int.from_bytes(machine.inner.engine.raw[at : at + 16], "little")

    def write(machine: Machine, value: int) -> None:
        machine.inner.engine.raw[at : at + 16] = value.to_bytes(16, "little")

    return Register(f"xmm{i}", 128, "vec128", read, write, SSE)


def _set_mxcsr(machine: Machine, value: int) -> None:
    if value & ~xsave.MXCSR_MASK:
        raise ValueError(f"MXCSR {value:#x} has reserved bits set")
    xsave.load_mxcsr(machine.inner.cpu, value)


def _own(name: str, bits: int, type_: str, read: Callable[[Machine], int]) -> Register:
    return Register(name, bits, type_, read, None, OWN)


_GENERAL: Final = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))

TABLE: Final = (
    *(_of_processor(name, 64, "data_ptr" if name in {"rbp", "rsp"} else "int64") for name in _GENERAL),
    _of_processor("rip", 64, "code_ptr"),
    _of_processor("eflags", 32, "x64_eflags", "rflags"),
    *(_selector(name) for name in ("cs", "ss", "ds", "es", "fs", "gs")),
    _base("fs_base", FS),
    _base("gs_base", GS),
    Register("k_gs_base", 64, "int64", lambda m: m.inner.cpu.msr.get(IA32_KERNEL_GS_BASE, 0), _set_kernel_gs),
    _of_processor("cr0", 64, "x64_cr0"),
    _of_processor("cr2", 64, "int64"),
    _of_processor("cr3", 64, "x64_cr3"),
    _of_processor("cr4", 64, "x64_cr4"),
    _of_processor("cr8", 64, "int64", fixed=True),
    _of_processor("efer", 64, "x64_efer"),
    *(_stack(i) for i in range(8)),
    _float("fctrl", lambda image: struct.unpack_from("<H", image)[0]),
    _float("fstat", lambda image: struct.unpack_from("<H", image, 2)[0]),
    _float("ftag", _tags),
    *(_float(name, lambda _: 0) for name in ("fiseg", "fioff", "foseg", "fooff", "fop")),  # nothing keeps them
    *(_xmm(i) for i in range(16)),
    Register("mxcsr", 32, "x64_mxcsr", lambda m: m.inner.cpu.d[layout.MXCSR >> 2], _set_mxcsr, SSE, "vector"),
    Register("pkru", 32, "x64_pkru", lambda m: m.cpu.pkru, lambda m, value: setattr(m.cpu, "pkru", value), PKEYS),
    _own("ring", 32, "uint32", ring),
    _own("domain", 32, "domain", lambda m: DOMAINS.index(domain(m))),
    _own("vmx", 32, "vmx_operation", lambda m: VMX.index(vmx(m))),
    _own("exit_reason", 32, "exit_reason", lambda m: last_exit(m)[0]),
    _own("exit_qualification", 64, "uint64", lambda m: last_exit(m)[1]),
    _own("vpid", 32, "uint32", lambda m: tag(m)[0]),
    _own("eptp", 64, "uint64", lambda m: tag(m)[1]),
    _own("pkrs", 32, "x64_pkrs", lambda m: m.cpu.pkrs),
    _own("cycles", 64, "uint64", lambda m: m.cycles),
)
BY_NAME: Final = {register.name: number for number, register in enumerate(TABLE)}
# What `g` and `G` carry: all of them, in order.
G_SIZE: Final = sum(register.size for register in TABLE)


@cache
def target_xml() -> bytes:
    """Give the target description (gdb manual, "Target Description Format")."""
    types = {CORE: CORE_TYPES, SSE: SSE_TYPES, PKEYS: PKRU_TYPES, OWN: OWN_TYPES}
    features = [(name, types[name], [r for r in TABLE if r.feature == name]) for name in types]
    return document(features).encode()
