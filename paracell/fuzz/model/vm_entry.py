"""A second opinion on the checks of VM entry, written from the manual alone, section by section.

It shares nothing with `paracell.vmx`: fields go by name, and what the processor offers is what RDMSR says of its capability MSRs.
Source: SDM volume 3C, chapter "VM Entries", sections "Checks on VMX Controls and Host-State Area" and "Checking and Loading Guest State".
The title of the section stands at each function.  Of the guest, what SMM, SGX, CET, RTM and Intel PT add is not offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .paging import bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SIX: Final = ("CS", "SS", "DS", "ES", "FS", "GS")
ALL_ONES: Final = bits(63, 0)
PDPTES, LINK = (
    2,
    4,
)  # exit qualifications of VM-entry failures ("VM-Entry Failures During or After Loading Guest State")
EXTERNAL, NMI, HARDWARE = 0, 2, 3  # interruption types
ERROR_CODES: Final = (8, 10, 11, 12, 13, 14, 17)  # #DF #TS #NP #SS #GP #PF #AC


class Processor(NamedTuple):
    """What decides besides the VMCS.

    Attributes:
        msrs: the capability MSRs, 480H to 490H.
        maxphyaddr: CPUID.80000008H:EAX[7:0].
        efer: the bits of IA32_EFER that are not reserved.
        debugctl: the bits of IA32_DEBUGCTL that are not reserved.
        long_mode: VMLAUNCH or VMRESUME runs in IA-32e mode.
        current: the address of the current VMCS.
        read: gives a word of memory.

    """

    msrs: Mapping[int, int]
    maxphyaddr: int
    efer: int
    debugctl: int
    long_mode: bool
    current: int
    read: Callable[[int], int]


class Verdict(NamedTuple):
    """Which rules are broken, by what comes of it; the manual leaves open which check is the first.

    Attributes:
        controls: VM-instruction error 7.
        host: VM-instruction error 8.
        guest: exit reason 33: each rule, and its exit qualification.

    """

    controls: tuple[str, ...]
    host: tuple[str, ...]
    guest: tuple[tuple[str, int], ...]

    @property
    def outcomes(self) -> frozenset[tuple[str, int]]:
        """Give what may happen: ("fails", error), ("exits", qualification) or ("enters", 0)."""
        failures = [("fails", 7)] * bool(self.controls) + [("fails", 8)] * bool(self.host)
        return frozenset(failures or [("exits", how) for _, how in self.guest] or [("enters", 0)])


class _Entry:
    def __init__(self, fields: Mapping[str, int], processor: Processor) -> None:
        self.f, self.p = fields, processor
        self.pin, self.primary = fields["PIN_CONTROLS"], fields["PRIMARY_CONTROLS"]
        self.secondary = fields["SECONDARY_CONTROLS"] if self.primary >> 31 & 1 else 0
        self.exit, self.entry = fields["EXIT_CONTROLS"], fields["ENTRY_CONTROLS"]
        self.event = fields["ENTRY_INTERRUPTION_INFO"]
        self.event_type = self.event >> 8 & 7 if self.event >> 31 & 1 else None
        self.long_guest, self.long_host = bool(self.entry >> 9 & 1), bool(self.exit >> 9 & 1)
        self.unrestricted = bool(self.secondary >> 7 & 1)
        self.v86 = bool(fields["GUEST_RFLAGS"] >> 17 & 1)

    def bad_address(self, name: str, low: int = 12) -> bool:
        """Tell whether a physical address has low bits, or bits beyond the width."""
        return bool(self.f[name] & (bits(63, self.p.maxphyaddr) | (1 << low) - 1))


def judge(fields: Mapping[str, int], processor: Processor) -> Verdict:
    """Say which checks of VM entry these fields do not pass."""
    e = _Entry(fields, processor)
    controls = (*_execution_controls(e), *_exit_controls(e), *_entry_controls(e))
    host = (*_host_registers(e), *_host_segments(e), *_address_space_size(e))
    guest = [
        (rule, 0)
        for part in (_guest_registers, _guest_segments, _guest_system_segments, _descriptor_tables, _rip_and_rflags)
        for rule in part(e)
    ]
    return Verdict(controls, host, (*guest, *((rule, 0) for rule in _no_register(e)), *_link(e), *_pdptes(e)))


def _allowed(value: int, msr: int) -> bool:
    """Follow "Reserved Controls and Default Settings": bits 31:0 of the MSR must be 1, and no others than 63:32 may be."""
    return value & msr & bits(31, 0) == msr & bits(31, 0) and not value & ~(msr >> 32)


def _fixed(value: int, fixed0: int, fixed1: int) -> bool:
    """Follow "VMX-Fixed Bits in CR0", "VMX-Fixed Bits in CR4"."""
    return value & fixed0 == fixed0 and not value & ~fixed1


def _canonical(address: int) -> bool:
    return address >> 47 in {0, bits(16, 0)}


def _pat(value: int) -> bool:
    """Tell whether each byte is 0 (UC), 1 (WC), 4 (WT), 5 (WP), 6 (WB) or 7 (UC-) ("Checks on Host Control Registers, MSRs, and SSP")."""
    return all(value >> shift & 0xFF in {0, 1, 4, 5, 6, 7} for shift in range(0, 64, 8))


# ---- "Checks on VMX Controls" ------------------------------------------------------------------------------------------


def _execution_controls(e: _Entry) -> Iterator[str]:
    """Follow "VM-Execution Control Fields"."""
    f, second = e.f, e.secondary
    if not _allowed(e.pin, e.p.msrs[0x48D]):
        yield "pin-based controls"
    if not _allowed(e.primary, e.p.msrs[0x48E]):
        yield "primary controls"
    if e.primary >> 31 & 1 and not _allowed(f["SECONDARY_CONTROLS"], e.p.msrs[0x48B]):
        yield "secondary controls"
    if f["CR3_TARGET_COUNT"] > 4:
        yield "CR3-target count"
    if e.primary >> 25 & 1 and (e.bad_address("IO_BITMAP_A") or e.bad_address("IO_BITMAP_B")):
        yield "I/O bitmaps"
    if e.primary >> 28 & 1 and e.bad_address("MSR_BITMAP"):
        yield "MSR bitmap"
    if e.primary >> 21 & 1:
        if e.bad_address("VIRTUAL_APIC_ADDRESS"):
            yield "virtual-APIC address"
        threshold = f["TPR_THRESHOLD"]
        if threshold & bits(31, 4):
            yield "TPR threshold"
        # The word at an address that is not aligned matters no more: the rule before is broken then.
        elif not e.bad_address("VIRTUAL_APIC_ADDRESS") and threshold > _vtpr(e):
            yield "TPR threshold above VTPR"
    if not e.pin >> 3 & 1 and e.pin >> 5 & 1:
        yield "virtual NMIs without NMI exiting"
    if not e.pin >> 5 & 1 and e.primary >> 22 & 1:
        yield "NMI-window exiting without virtual NMIs"
    if second >> 5 & 1 and f["VPID"] == 0:
        yield "VPID 0"
    if second >> 1 & 1 and not _eptp(e, f["EPT_POINTER"]):
        yield "EPTP"
    if second >> 17 & 1 and (not second >> 1 & 1 or e.bad_address("PML_ADDRESS")):
        yield "PML"
    if not second >> 1 & 1 and (e.unrestricted or second >> 22 & 1):
        yield "unrestricted guest or mode-based execute control without EPT"
    if second >> 14 & 1 and (e.bad_address("VMREAD_BITMAP") or e.bad_address("VMWRITE_BITMAP")):
        yield "VMREAD and VMWRITE bitmaps"


def _vtpr(e: _Entry) -> int:
    return e.p.read(e.f["VIRTUAL_APIC_ADDRESS"] + 0x80) >> 4 & 15


def _eptp(e: _Entry, eptp: int) -> bool:
    """Follow "Extended-Page-Table Pointer (EPTP)" and "VPID and EPT Capabilities"."""
    offered = e.p.msrs[0x48C]
    kind_fits = {0: offered >> 8 & 1, 6: offered >> 14 & 1}.get(eptp & 7, 0)
    length_fits = eptp >> 3 & 7 == 3 and offered >> 6 & 1
    flags_fit = not eptp >> 6 & 1 or offered >> 21 & 1
    return bool(kind_fits and length_fits and flags_fit and not eptp & (bits(11, 7) | bits(63, e.p.maxphyaddr)))


def _area(e: _Entry, count: str, address: str) -> bool:
    """Tell whether a list of MSRs is well placed: 16 bytes an entry, all of them within the width."""
    number, first = e.f[count], e.f[address]
    return number == 0 or not (first & 15 or (first | first + 16 * number - 1) >> e.p.maxphyaddr)


def _exit_controls(e: _Entry) -> Iterator[str]:
    """Follow "VM-Exit Control Fields"."""
    if not _allowed(e.exit, e.p.msrs[0x48F]):
        yield "VM-exit controls"
    if not e.pin >> 6 & 1 and e.exit >> 22 & 1:
        yield "the preemption timer is saved, and not in use"
    for what in ("STORE", "LOAD"):
        if not _area(e, f"EXIT_MSR_{what}_COUNT", f"EXIT_MSR_{what}_ADDRESS"):
            yield f"VM-exit MSR-{what.lower()} area"


def _entry_controls(e: _Entry) -> Iterator[str]:
    """Follow "VM-Entry Control Fields"."""
    f, event = e.f, e.event
    if not _allowed(e.entry, e.p.msrs[0x490]):
        yield "VM-entry controls"
    if e.event_type is not None:
        vector = event & 0xFF
        if e.event_type == 1:
            yield "reserved interruption type"
        if (e.event_type == NMI and vector != 2) or (e.event_type == HARDWARE and vector > 31):
            yield "vector"
        if e.event_type == 7 and vector != 0:
            yield "vector of an event that is no vector"
        protected = not e.unrestricted or f["GUEST_CR0"] & 1
        wants_code = protected and e.event_type == HARDWARE and vector in ERROR_CODES
        if bool(event >> 11 & 1) != bool(wants_code):
            yield "deliver-error-code bit"
        if event & bits(30, 12):
            yield "reserved bits of the interruption information"
        if event >> 11 & 1 and f["ENTRY_ERROR_CODE"] & bits(31, 16):
            yield "error code"
        if e.event_type in {4, 5, 6}:
            shortest = 0 if e.p.msrs[0x485] >> 30 & 1 else 1
            if not shortest <= f["ENTRY_INSTRUCTION_LENGTH"] <= 15:
                yield "instruction length"
    if not _area(e, "ENTRY_MSR_LOAD_COUNT", "ENTRY_MSR_LOAD_ADDRESS"):
        yield "VM-entry MSR-load area"


# ---- the host-state area -----------------------------------------------------------------------------------------------


def _host_registers(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Host Control Registers, MSRs, and SSP"."""
    f, msrs = e.f, e.p.msrs
    if not _fixed(f["HOST_CR0"], msrs[0x486], msrs[0x487]):
        yield "CR0"
    if not _fixed(f["HOST_CR4"], msrs[0x488], msrs[0x489]):
        yield "CR4"
    if e.bad_address("HOST_CR3", 0):
        yield "CR3"
    if not (_canonical(f["HOST_SYSENTER_ESP"]) and _canonical(f["HOST_SYSENTER_EIP"])):
        yield "SYSENTER"
    if e.exit >> 19 & 1 and not _pat(f["HOST_PAT"]):
        yield "PAT"
    if e.exit >> 21 & 1:
        efer = f["HOST_EFER"]
        if efer & ~e.p.efer:
            yield "reserved bits of EFER"
        if bool(efer >> 10 & 1) != e.long_host or bool(efer >> 8 & 1) != e.long_host:
            yield "EFER.LMA, EFER.LME"
    if e.exit >> 29 & 1 and f["HOST_PKRS"] & bits(63, 32):
        yield "PKRS"


def _host_segments(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Host Segment and Descriptor-Table Registers"."""
    f = e.f
    for name in (*SIX, "TR"):
        if f[f"HOST_{name}_SELECTOR"] & 7:
            yield f"RPL and TI of {name}"
    if not f["HOST_CS_SELECTOR"] or not f["HOST_TR_SELECTOR"]:
        yield "CS or TR is null"
    if not e.long_host and not f["HOST_SS_SELECTOR"]:
        yield "SS is null"
    for name in ("FS", "GS", "GDTR", "IDTR", "TR"):
        if not _canonical(f[f"HOST_{name}_BASE"]):
            yield f"base of {name}"


def _address_space_size(e: _Entry) -> Iterator[str]:
    """Follow "Checks Related to Address-Space Size"."""
    f = e.f
    if not e.p.long_mode and (e.long_guest or e.long_host):
        yield "64 bits outside IA-32e mode"
    if e.p.long_mode and not e.long_host:
        yield "a 32-bit host in IA-32e mode"
    if not e.long_host and (e.long_guest or f["HOST_CR4"] >> 17 & 1 or f["HOST_RIP"] & bits(63, 32)):
        yield "a 32-bit host with 64-bit state"
    if e.long_host and (not f["HOST_CR4"] >> 5 & 1 or not _canonical(f["HOST_RIP"])):
        yield "a 64-bit host without PAE, or with a RIP that is not canonical"


# ---- the guest-state area ----------------------------------------------------------------------------------------------


def _guest_registers(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Guest Control Registers, Debug Registers, and MSRs"."""
    f, msrs = e.f, e.p.msrs
    cr0, cr4 = f["GUEST_CR0"], f["GUEST_CR4"]
    free = bits(31, 31) | 1 if e.unrestricted else 0  # PG and PE
    if not _fixed(cr0, msrs[0x486] & ~free, msrs[0x487]):
        yield "CR0"
    if cr0 >> 31 & 1 and not cr0 & 1:
        yield "CR0.PG without CR0.PE"
    if not _fixed(cr4, msrs[0x488], msrs[0x489]):
        yield "CR4"
    if e.entry >> 2 & 1 and f["GUEST_DEBUGCTL"] & ~e.p.debugctl:
        yield "DEBUGCTL"
    if e.long_guest and not (cr0 >> 31 & 1 and cr4 >> 5 & 1):
        yield "an IA-32e mode guest without paging or PAE"
    if not e.long_guest and cr4 >> 17 & 1:
        yield "CR4.PCIDE"
    if e.bad_address("GUEST_CR3", 0):
        yield "CR3"
    if e.entry >> 2 & 1 and f["GUEST_DR7"] & bits(63, 32):
        yield "DR7"
    if not (_canonical(f["GUEST_SYSENTER_ESP"]) and _canonical(f["GUEST_SYSENTER_EIP"])):
        yield "SYSENTER"
    if e.entry >> 14 & 1 and not _pat(f["GUEST_PAT"]):
        yield "PAT"
    if e.entry >> 15 & 1:
        efer = f["GUEST_EFER"]
        if efer & ~e.p.efer:
            yield "reserved bits of EFER"
        if bool(efer >> 10 & 1) != e.long_guest or (cr0 >> 31 & 1 and bool(efer >> 8 & 1) != bool(efer >> 10 & 1)):
            yield "EFER.LMA, EFER.LME"
    if e.entry >> 22 & 1 and f["GUEST_PKRS"] & bits(63, 32):
        yield "PKRS"


def _guest_segments(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Guest Segment Registers", for the six that programs load."""
    f = e.f
    selector = {n: f[f"GUEST_{n}_SELECTOR"] for n in SIX}
    base = {n: f[f"GUEST_{n}_BASE"] for n in SIX}
    limit = {n: f[f"GUEST_{n}_LIMIT"] for n in SIX}
    access = {n: f[f"GUEST_{n}_ACCESS"] for n in SIX}
    usable = {n: not access[n] >> 16 & 1 for n in SIX}
    if not e.v86 and not e.unrestricted and selector["SS"] & 3 != selector["CS"] & 3:
        yield "RPL of SS"
    for n in SIX:
        if e.v86 and base[n] != selector[n] * 16:
            yield f"base of {n} in virtual-8086 mode"
        if n in {"FS", "GS"} and not _canonical(base[n]):
            yield f"base of {n}"
        if (n == "CS" or (n in {"SS", "DS", "ES"} and usable[n])) and base[n] & bits(63, 32):
            yield f"base of {n}"
        if e.v86 and (limit[n] != 0xFFFF or access[n] != 0xF3):
            yield f"limit or access rights of {n} in virtual-8086 mode"
    if e.v86:
        return
    for n in SIX:
        if n != "CS" and not usable[n]:
            continue
        kind, dpl, rpl = access[n] & 15, access[n] >> 5 & 3, selector[n] & 3
        if n == "CS" and kind not in ({3, 9, 11, 13, 15} if e.unrestricted else {9, 11, 13, 15}):
            yield "type of CS"
        if n == "SS" and kind not in {3, 7}:
            yield "type of SS"
        if n in {"DS", "ES", "FS", "GS"}:
            if not kind & 1 or (kind & 8 and not kind & 2):
                yield f"type of {n}"
            if not e.unrestricted and kind <= 11 and dpl < rpl:
                yield f"DPL of {n}"
        if not access[n] >> 4 & 1:
            yield f"S of {n}"
        if not access[n] >> 7 & 1:
            yield f"P of {n}"
        if access[n] & (bits(11, 8) | bits(31, 17)):
            yield f"reserved bits of {n}"
        if n == "CS" and e.long_guest and access[n] >> 13 & 1 and access[n] >> 14 & 1:
            yield "L and D of CS"
        if _granularity(limit[n], access[n]):
            yield f"G of {n}"
    yield from _levels(e, access, selector)


def _levels(e: _Entry, access: Mapping[str, int], selector: Mapping[str, int]) -> Iterator[str]:
    """Follow the rules of DPL for CS and SS, whether SS is usable or not."""
    kind, code, stack = access["CS"] & 15, access["CS"] >> 5 & 3, access["SS"] >> 5 & 3
    if kind == 3 and code != 0:
        yield "DPL of a CS that is data"
    if kind in {9, 11} and code != stack:
        yield "DPL of CS"
    if kind in {13, 15} and code > stack:
        yield "DPL of a conforming CS"
    if not e.unrestricted and stack != selector["SS"] & 3:
        yield "DPL of SS"
    if (kind == 3 or not e.f["GUEST_CR0"] & 1) and stack != 0:
        yield "DPL of SS in real mode"


def _granularity(limit: int, access: int) -> bool:
    """Tell whether G is wrong: 0 where a bit of 11:0 of the limit is 0, and 1 where a bit of 31:20 is 1."""
    g = access >> 15 & 1
    return bool((g and limit & bits(11, 0) != bits(11, 0)) or (not g and limit & bits(31, 20)))


def _guest_system_segments(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Guest Segment Registers", for TR and LDTR."""
    f = e.f
    for n in ("TR", "LDTR"):
        access = f[f"GUEST_{n}_ACCESS"]
        if access >> 16 & 1:
            if n == "TR":
                yield "TR is unusable"
            else:
                continue
        if f[f"GUEST_{n}_SELECTOR"] >> 2 & 1:
            yield f"TI of {n}"
        if not _canonical(f[f"GUEST_{n}_BASE"]):
            yield f"base of {n}"
        if access & 15 not in ({2} if n == "LDTR" else {11} if e.long_guest else {3, 11}):
            yield f"type of {n}"
        if access >> 4 & 1 or not access >> 7 & 1:
            yield f"S or P of {n}"
        if access & (bits(11, 8) | bits(31, 17)):
            yield f"reserved bits of {n}"
        if _granularity(f[f"GUEST_{n}_LIMIT"], access):
            yield f"G of {n}"


def _descriptor_tables(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Guest Descriptor-Table Registers"."""
    for n in ("GDTR", "IDTR"):
        if not _canonical(e.f[f"GUEST_{n}_BASE"]) or e.f[f"GUEST_{n}_LIMIT"] & bits(31, 16):
            yield n


def _rip_and_rflags(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Guest RIP, RFLAGS, and SSP"; there are 48 bits of linear address."""
    rip, flags = e.f["GUEST_RIP"], e.f["GUEST_RFLAGS"]
    if e.long_guest and e.f["GUEST_CS_ACCESS"] >> 13 & 1:
        if rip & bits(63, 48) not in {0, bits(63, 48)}:
            yield "RIP of 64-bit code"
    elif rip & bits(63, 32):
        yield "RIP of 32-bit code"
    if flags & (bits(63, 22) | 1 << 15 | 1 << 5 | 1 << 3) or not flags & 2:
        yield "reserved bits of RFLAGS"
    if e.v86 and (e.long_guest or not e.f["GUEST_CR0"] & 1):
        yield "RFLAGS.VM"
    if e.event_type == EXTERNAL and not flags >> 9 & 1:
        yield "RFLAGS.IF"


def _no_register(e: _Entry) -> Iterator[str]:
    """Follow "Checks on Guest Non-Register State"."""
    f, flags = e.f, e.f["GUEST_RFLAGS"]
    activity, held, pending = f["GUEST_ACTIVITY"], f["GUEST_INTERRUPTIBILITY"], f["GUEST_PENDING_DEBUG"]
    misc, vector = e.p.msrs[0x485], e.event & 0xFF
    if activity > 3 or (activity and not misc >> (5 + activity) & 1):
        yield "activity state"
    if activity == 1 and f["GUEST_SS_ACCESS"] >> 5 & 3:
        yield "HLT beside ring 0"
    if activity and held & 3:
        yield "an activity state behind STI or MOV SS"
    if e.event_type is not None:
        if activity == 1 and not (
            e.event_type in {EXTERNAL, NMI}
            or (e.event_type == HARDWARE and vector in {1, 18})
            or (e.event_type == 7 and vector == 0)
        ):
            yield "an event that does not wake from HLT"
        if activity == 2 and not (e.event_type == NMI or (e.event_type == HARDWARE and vector == 18)):
            yield "an event that does not wake from shutdown"
        if activity == 3:
            yield "an event in wait-for-SIPI"
    if held & bits(31, 4):  # bit 4 is of enclaves
        yield "reserved bits of the interruptibility state"
    if held & 3 == 3:
        yield "STI and MOV SS"
    if held & 1 and not flags >> 9 & 1:
        yield "STI without RFLAGS.IF"
    if (e.event_type == EXTERNAL and held & 3) or (e.event_type == NMI and held & 2):
        yield "an event that is held off"
    if held >> 2 & 1:
        yield "blocking by SMI outside SMM"
    if e.pin >> 5 & 1 and e.event_type == NMI and held >> 3 & 1:
        yield "a virtual NMI that is blocked"
    if pending & (bits(11, 4) | 1 << 13 | bits(63, 15)):
        yield "reserved bits of the pending debug exceptions"
    if held & 3 or activity == 1:
        steps = flags >> 8 & 1 and not f["GUEST_DEBUGCTL"] >> 1 & 1
        if bool(pending >> 14 & 1) != bool(steps):
            yield "BS"


def _link(e: _Entry) -> Iterator[tuple[str, int]]:
    """Follow "Checks on Guest Non-Register State", VMCS link pointer."""
    pointer = e.f["VMCS_LINK_POINTER"]
    if pointer == ALL_ONES:
        return
    if e.bad_address("VMCS_LINK_POINTER") or pointer == e.p.current:
        yield "VMCS link pointer", LINK
        return
    revision = e.p.msrs[0x480] & bits(30, 0)
    shadow = e.secondary >> 14 & 1
    if e.p.read(pointer) & bits(31, 0) != revision | shadow << 31:
        yield "the VMCS that is linked", LINK


def _pdptes(e: _Entry) -> Iterator[tuple[str, int]]:
    """Follow "Checks on Guest Page-Directory-Pointer-Table Entries"; "PDPTE Registers" has their reserved bits."""
    f = e.f
    if e.long_guest or not (f["GUEST_CR0"] >> 31 & 1 and f["GUEST_CR4"] >> 5 & 1):
        return
    if e.secondary >> 1 & 1:
        entries = [f[f"GUEST_PDPTE{i}"] for i in range(4)]
    else:
        table = f["GUEST_CR3"] & bits(31, 5)
        entries = [e.p.read(table + 8 * i) for i in range(4)]
    reserved = bits(63, e.p.maxphyaddr) | bits(8, 5) | bits(2, 1)
    if any(entry & 1 and entry & reserved for entry in entries):
        yield "PDPTEs", PDPTES
