"""VMCLEAR, VMPTRLD, VMREAD and VMWRITE in any order, against a model that keeps what software wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import asdict, evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.emu.features import parse
from paracell.vmx.caps import MISC, REVISION, Capabilities
from paracell.vmx.errors import InstructionError, VmFail
from paracell.vmx.fields import Field
from paracell.vmx.operation import NO_VMCS, ActiveVmcs, Operation, VmxState
from paracell.vmx.vmcs import Vmcs

from .memory import Words

if TYPE_CHECKING:
    from collections.abc import Callable

VMXON, REGIONS, PAGE = 0x1000, (0x2000, 0x3000, 0x4000), 4096
_caps = parse("pks,+vmx").vmx
assert _caps is not None
CAPS: Final[Capabilities] = _caps
SAMPLE: Final = (
    Field.VPID,
    Field.TSC_OFFSET,
    Field.EXIT_REASON,
    Field.GUEST_RIP,
    Field.HOST_RIP,
    Field.GUEST_CS_ACCESS,
)


def fresh() -> tuple[Words, Operation]:
    memory = Words()
    for at in (VMXON, *REGIONS):
        memory.write64(at, REVISION)
    return memory, Operation(CAPS, VMXON)


def write(operation: Operation, encoding: int, value: int, *, wide: bool = True) -> None:
    operation.vmwrite(operation.writable(encoding), value, wide=wide)


def failure(what: Callable[..., Any], *arguments: Any) -> InstructionError | None:
    with pytest.raises(VmFail) as caught:
        what(*arguments)
    return caught.value.error


STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.integers(0, 2)),
        st.tuples(st.just("clear"), st.integers(0, 2)),
        st.tuples(st.just("copy"), st.tuples(st.integers(0, 2), st.integers(0, 2))),
        st.tuples(st.just("write"), st.tuples(st.sampled_from(SAMPLE), st.integers(0, (1 << 64) - 1))),
        st.tuples(st.just("snapshot"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_any_order(steps: list[tuple[str, Any]]) -> None:
    """The model: each VMCS keeps its fields; software copies only regions that are not active, as the manual demands."""
    memory, operation = fresh()
    values: list[dict[Field, int]] = [{}, {}, {}]
    active: set[int] = set()
    current: int | None = None
    for what, how in steps:
        if what == "load":
            operation.vmptrld(memory, REGIONS[how])
            active.add(how)
            current = how
        elif what == "clear":
            operation.vmclear(memory, REGIONS[how])
            active.discard(how)
            current = None if current == how else current
        elif what == "copy" and not active & set(how):
            source, target = how
            for offset in range(0, PAGE, 8):
                memory.write64(REGIONS[target] + offset, memory.read64(REGIONS[source] + offset))
            values[target] = dict(values[source])
        elif what == "write" and current is not None:
            field, value = how
            write(operation, field, value)
            values[current][field] = value & (1 << field.bits) - 1
        elif what == "snapshot":
            operation = Operation.load(CAPS, VmxState(**asdict(operation.save())))
        assert operation.pointer == (NO_VMCS if current is None else REGIONS[current])
        if current is None:
            assert failure(operation.vmread, Field.VPID) is None
        else:
            assert [operation.vmread(f) for f in SAMPLE] == [values[current].get(f, 0) for f in SAMPLE]


def test_refused_addresses() -> None:
    memory, operation = fresh()
    wide = 1 << CAPS.maxphyaddr
    for at in (REGIONS[0] + 1, REGIONS[0] + 0x800, REGIONS[0] | wide, 1 << 63):
        assert failure(operation.vmclear, memory, at) == InstructionError.VMCLEAR_ADDRESS
        assert failure(operation.vmptrld, memory, at) == InstructionError.VMPTRLD_ADDRESS
    assert failure(operation.vmclear, memory, VMXON) == InstructionError.VMCLEAR_VMXON_POINTER
    assert failure(operation.vmptrld, memory, VMXON) == InstructionError.VMPTRLD_VMXON_POINTER


def test_revisions() -> None:
    memory, operation = fresh()
    memory.write64(REGIONS[1], REVISION + 1)
    memory.write64(REGIONS[2], REVISION | 1 << 31 | 7 << 32)  # a shadow VMCS; the abort indicator is no matter
    assert failure(operation.vmptrld, memory, REGIONS[1]) == InstructionError.VMPTRLD_REVISION
    assert failure(operation.vmptrld, memory, 1 << 30) == InstructionError.VMPTRLD_REVISION  # not in memory
    operation.vmclear(memory, 1 << 30)
    operation.vmptrld(memory, REGIONS[2])
    assert operation.current is not None
    assert operation.current.shadow


def test_fields_that_are_not_there() -> None:
    memory, operation = fresh()
    operation.vmptrld(memory, REGIONS[0])
    for encoding in (2, 0x2016, 0x2808, 0x4020, 0x8000, Field.GUEST_RIP | 1, Field.VPID | 1, 1 << 32 | Field.GUEST_RIP):
        assert failure(operation.vmread, encoding) == InstructionError.UNSUPPORTED_FIELD
        assert failure(operation.writable, encoding) == InstructionError.UNSUPPORTED_FIELD


def test_without_vmwrite_to_any_field_the_read_only_ones_refuse() -> None:
    memory, _ = fresh()
    operation = Operation(evolve(CAPS, misc=MISC.replace(VMWRITE_ANY=0)), VMXON)
    operation.vmptrld(memory, REGIONS[0])
    for field in Field:
        if int(field) >> 10 & 3 == 1:
            assert failure(operation.writable, field) == InstructionError.READ_ONLY_FIELD
        else:
            assert operation.writable(field) == (field, False)


def test_halves_and_widths() -> None:
    memory, operation = fresh()
    operation.vmptrld(memory, REGIONS[0])
    write(operation, Field.TSC_OFFSET, 0x0123456789ABCDEF)
    write(operation, Field.TSC_OFFSET | 1, 0xFFFFFFFF76543210)
    assert operation.vmread(Field.TSC_OFFSET) == 0x7654321089ABCDEF
    assert operation.vmread(Field.TSC_OFFSET | 1) == 0x76543210
    write(operation, Field.TSC_OFFSET, 0xAABBCCDD, wide=False)  # outside 64-bit mode the upper half is cleared
    assert operation.vmread(Field.TSC_OFFSET) == 0xAABBCCDD
    write(operation, Field.VPID, 0x12345)
    assert operation.vmread(Field.VPID) == 0x2345


def test_what_is_in_a_region_beyond_a_fields_width_does_not_count() -> None:
    memory, _ = fresh()
    for offset in range(8, PAGE, 8):
        memory.write64(REGIONS[0] + offset, (1 << 64) - 1)
    vmcs = Vmcs.read(memory, REGIONS[0])
    assert all(vmcs[field] == (1 << field.bits) - 1 for field in Field)


def test_a_state_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="not active"):
        Operation.load(CAPS, VmxState(VMXON, 0x2000))
    with pytest.raises(ValueError, match="does not exist"):
        Operation.load(CAPS, VmxState(VMXON, active=(ActiveVmcs(0x2000, False, False, ((0x8000, 1),)),)))


def test_a_report_names_fields() -> None:
    memory, operation = fresh()
    operation.vmptrld(memory, REGIONS[0])
    write(operation, Field.GUEST_RIP, 0x1234)
    assert operation.current is not None
    assert operation.current.describe() == ["VMCS at 0x2000, clear:", "  GUEST_RIP                  0x1234"]
