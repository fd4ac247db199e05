"""What VMX offers, as the capability MSRs tell it (SDM "VMX Capability Reporting Facility").

All follows from the declarations in `controls` and `fields`, and from the rest of the processor: what CR4 takes, the physical-address
width, and the features without which a control would do nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from attrs import frozen

from ..mmu.registers import CR0, CR4
from ..mmu.word import Bits, Word
from .controls import DEFAULT1, MAY_BE_0, NEEDS, Entry, Exit, Pin, Primary, Secondary
from .fields import HIGH, READ_ONLY, Field

IA32_FEATURE_CONTROL: Final = 0x3A
FIRST_MSR, LAST_MSR = 0x480, 0x490  # IA32_VMX_BASIC to IA32_VMX_TRUE_ENTRY_CTLS
REVISION: Final = 0x50435631  # of a VMCS; any number of 31 bits
REGION_SIZE: Final = 4096
_WRITE_BACK: Final = 6


class FeatureControl(Word):
    """IA32_FEATURE_CONTROL (SDM "Enabling and Entering VMX Operation"); without SMX there is no bit for it."""

    LOCK = Bits(0)
    VMX_OUTSIDE_SMX = Bits(2)


class Misc(Word):
    """IA32_VMX_MISC (SDM "Miscellaneous Data")."""

    TIMER_RATE = Bits(4, 0)
    STORES_LMA = Bits(5)
    ACTIVITY_HLT = Bits(6)
    ACTIVITY_SHUTDOWN = Bits(7)
    ACTIVITY_WAIT_FOR_SIPI = Bits(8)
    CR3_TARGETS = Bits(24, 16)
    MSR_LIST = Bits(27, 25)
    VMWRITE_ANY = Bits(29)
    INJECT_LENGTH_0 = Bits(30)


class EptVpid(Word):
    """IA32_VMX_EPT_VPID_CAP (SDM "VPID and EPT Capabilities")."""

    EXECUTE_ONLY = Bits(0)
    WALK_4 = Bits(6)
    UC = Bits(8)
    WB = Bits(14)
    PAGES_2M = Bits(16)
    PAGES_1G = Bits(17)
    INVEPT = Bits(20)
    ACCESSED_DIRTY = Bits(21)
    ADVANCED_INFO = Bits(22)
    INVEPT_SINGLE = Bits(25)
    INVEPT_ALL = Bits(26)
    INVVPID = Bits(32)
    INVVPID_ADDRESS = Bits(40)
    INVVPID_SINGLE = Bits(41)
    INVVPID_ALL = Bits(42)
    INVVPID_RETAINING_GLOBALS = Bits(43)


DEBUGCTL_KNOWN: Final = 3  # LBR, which has no meaning, and BTF
MISC: Final = Misc(0).replace(STORES_LMA=1, ACTIVITY_HLT=1, CR3_TARGETS=4, VMWRITE_ANY=1, INJECT_LENGTH_0=1)
EPT_VPID: Final = EptVpid(EptVpid.mask())


@frozen(slots=False)
class Capabilities:
    """What a processor's VMX offers.

    Attributes:
        names: the processor's features, by their usual names.
        cr4_known: the bits that MOV to CR4 takes, VMXE among them.
        efer_known: the bits of IA32_EFER that may be set.
        maxphyaddr: how many bits a physical address has.
        debugctl_known: the bits of IA32_DEBUGCTL that may be set.
        misc, ept_vpid: IA32_VMX_MISC, IA32_VMX_EPT_VPID_CAP.

    """

    names: frozenset[str]
    cr4_known: int
    efer_known: int
    maxphyaddr: int
    debugctl_known: int = DEBUGCTL_KNOWN
    misc: Misc = MISC
    ept_vpid: EptVpid = EPT_VPID

    cr0_fixed0 = CR0.PE.mask | CR0.NE.mask | CR0.PG.mask
    cr0_fixed1 = 0xFFFFFFFF
    cr4_fixed0 = CR4.VMXE.mask

    @property
    def cr4_fixed1(self) -> int:
        """The bits of CR4 that may be 1 in VMX operation: those that MOV takes."""
        return self.cr4_known

    def cr0_supported(self, value: int, *, unrestricted: bool = False) -> bool:
        """Tell whether VMX operation supports a value of CR0; PE and PG are free under unrestricted guest."""
        fixed0 = CR0.NE.mask if unrestricted else self.cr0_fixed0
        return not (fixed0 & ~value or value & ~self.cr0_fixed1)

    def cr4_supported(self, value: int) -> bool:
        """Tell whether VMX operation supports a value of CR4."""
        return not (self.cr4_fixed0 & ~value or value & ~self.cr4_fixed1)

    def offers(self, control: Bits) -> bool:
        """Tell whether a control may be 1."""
        return NEEDS.get(control) is None or NEEDS[control] in self.names

    def allowed0(self, word: type[Word], *, true: bool = True) -> int:
        """Give the bits of a word of controls that must be 1."""
        return DEFAULT1[word] & ~(MAY_BE_0[word] if true else 0)

    def allowed1(self, word: type[Word]) -> int:
        """Give the bits of a word of controls that may be 1."""
        return DEFAULT1[word] | sum(bits.mask for bits in word.fields.values() if self.offers(bits)) & ~DEFAULT1[word]

    def reserved_wrong(self, word: type[Word], value: int) -> bool:
        """Tell whether reserved bits of a word of controls are not set properly."""
        return bool(self.allowed0(word) & ~value or value & ~self.allowed1(word))

    def beyond(self, address: int) -> bool:
        """Tell whether a physical address sets bits beyond the physical-address width."""
        return bool(address >> self.maxphyaddr)

    @cached_property
    def fields(self) -> dict[int, tuple[Field, bool]]:
        """What VMREAD and VMWRITE know: encoding → the field, and whether its upper half is meant."""
        found: dict[int, tuple[Field, bool]] = {}
        for field in Field:
            if all(map(self.offers, field.needs)):
                found[int(field)] = field, False
                if field >> 13 == 1:
                    found[field | HIGH] = field, True
        return found

    @cached_property
    def writable(self) -> dict[int, tuple[int, int]]:
        """The same for VMWRITE of whole fields that hold no read-only data: encoding → the field, and the bits that it has."""
        return {
            which.value: (which.value, (1 << which.bits) - 1)
            for which, high in self.fields.values()
            if not high and which.type != READ_ONLY
        }

    @cached_property
    def msrs(self) -> dict[int, int]:
        """The capability MSRs: address → value."""
        words: tuple[type[Word], ...] = (Pin, Primary, Exit, Entry)
        basic = REVISION | REGION_SIZE << 32 | _WRITE_BACK << 50 | 1 << 54 | 1 << 55
        highest = max(field.index for field, _ in self.fields.values())
        return {
            0x480: basic,
            **{0x481 + i: self.allowed0(w, true=False) | self.allowed1(w) << 32 for i, w in enumerate(words)},
            0x485: int(self.misc),
            0x486: self.cr0_fixed0,
            0x487: self.cr0_fixed1,
            0x488: self.cr4_fixed0,
            0x489: self.cr4_fixed1,
            0x48A: highest << 1,
            0x48B: self.allowed1(Secondary) << 32,
            0x48C: int(self.ept_vpid),
            **{0x48D + i: self.allowed0(w) | self.allowed1(w) << 32 for i, w in enumerate(words)},
        }
