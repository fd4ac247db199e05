"""What a processor offers: CPUID, CR4's and EFER's bits, XCR0, MSRs, instructions and address width follow from one `Features` value.

One row of the table declares a feature; a processor without it behaves as one that never had it: the CPUID bit is 0, the control
bits are reserved (#GP), the instructions are undefined (#UD), the MSRs do not exist (#GP).  What TCG runs by itself, such as SSE4.2
or BMI, cannot be taken away, so it is in no row.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from attrs import field, frozen

from ..mmu.registers import CR4, EFER
from .msr_index import (
    IA32_ARCH_CAPABILITIES,
    IA32_FEATURE_CONTROL,
    IA32_MCG_CAP,
    IA32_MCG_STATUS,
    IA32_MTRR_DEF_TYPE,
    IA32_MTRR_PHYSBASE0,
    IA32_MTRRCAP,
    IA32_PAT,
    IA32_PKRS,
    IA32_SYSENTER_CS,
    IA32_SYSENTER_EIP,
    IA32_SYSENTER_ESP,
    IA32_TSC_ADJUST,
    IA32_TSC_AUX,
    IA32_TSC_DEADLINE,
    IA32_VMX_BASIC,
    IA32_VMX_TRUE_ENTRY_CTLS,
    IA32_XSS,
    MTRR_FIX,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..vmx.caps import Capabilities

EAX, EBX, ECX, EDX = range(4)
_X87_SSE, _PKRU = 3, 1 << 9
_MTRRS: Final = (IA32_MTRRCAP, IA32_MTRR_DEF_TYPE, *range(IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSBASE0 + 16), *MTRR_FIX)
_VMX_INSTRUCTIONS: Final = (
    *(
        "vmxon",
        "vmxoff",
        "vmclear",
        "vmptrld",
        "vmptrst",
        "vmread",
        "vmwrite",
        "vmlaunch",
        "vmresume",
        "vmcall",
        "vmfunc",
    ),
    *("invept", "invvpid"),
)


class Feature(NamedTuple):
    """One feature, by its usual name (Linux's and QEMU's), and all that comes and goes with it.

    Attributes:
        leaf, subleaf, register, bit: where CPUID tells of it.
        cr4, efer, xcr0: the bits that are reserved without it.
        instructions: mnemonics that are #UD without it.  Those that a CR4 bit enables need no entry.
        msrs: registers that are #GP without it.
        needs: features that it is nothing without.

    """

    name: str
    leaf: int
    subleaf: int
    register: int
    bit: int
    cr4: int = 0
    efer: int = 0
    xcr0: int = 0
    instructions: tuple[str, ...] = ()
    msrs: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()


_TABLE: Final = (
    Feature("de", 1, 0, EDX, 2, CR4.DE.mask),
    Feature("pse", 1, 0, EDX, 3, CR4.PSE.mask),
    Feature("mce", 1, 0, EDX, 7, CR4.MCE.mask),
    Feature(
        *("sep", 1, 0, EDX, 11),
        instructions=("sysenter", "sysexit", "sysexitq"),
        msrs=(IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP),
    ),
    Feature("mtrr", 1, 0, EDX, 12, msrs=_MTRRS),
    Feature("pge", 1, 0, EDX, 13, CR4.PGE.mask),
    Feature("mca", 1, 0, EDX, 14, msrs=(IA32_MCG_CAP, IA32_MCG_STATUS), needs=("mce",)),
    Feature("pat", 1, 0, EDX, 16, msrs=(IA32_PAT,)),
    Feature("pse36", 1, 0, EDX, 17, needs=("pse",)),
    Feature(
        *("vmx", 1, 0, ECX, 5, CR4.VMXE.mask),
        instructions=_VMX_INSTRUCTIONS,
        msrs=(IA32_FEATURE_CONTROL, *range(IA32_VMX_BASIC, IA32_VMX_TRUE_ENTRY_CTLS + 1)),
    ),
    Feature("pcid", 1, 0, ECX, 17, CR4.PCIDE.mask),
    Feature("x2apic", 1, 0, ECX, 21),
    Feature("tsc-deadline", 1, 0, ECX, 24, msrs=(IA32_TSC_DEADLINE,)),
    Feature("xsave", 1, 0, ECX, 26, CR4.OSXSAVE.mask, xcr0=_X87_SSE),
    Feature("xsaveopt", 0xD, 1, EAX, 0, instructions=("xsaveopt",), needs=("xsave",)),
    Feature("xsavec", 0xD, 1, EAX, 1, instructions=("xsavec",), needs=("xsave",)),
    Feature("xgetbv1", 0xD, 1, EAX, 2, needs=("xsave",)),
    Feature("xsaves", 0xD, 1, EAX, 3, instructions=("xsaves", "xrstors"), msrs=(IA32_XSS,), needs=("xsave", "xsavec")),
    Feature("fsgsbase", 7, 0, EBX, 0, CR4.FSGSBASE.mask),
    Feature("tsc-adjust", 7, 0, EBX, 1, msrs=(IA32_TSC_ADJUST,)),
    Feature("smep", 7, 0, EBX, 7, CR4.SMEP.mask),
    Feature("invpcid", 7, 0, EBX, 10, instructions=("invpcid",)),
    Feature("smap", 7, 0, EBX, 20, CR4.SMAP.mask, instructions=("clac", "stac")),
    Feature("umip", 7, 0, ECX, 2, CR4.UMIP.mask),
    # PKRU is a component of XSAVE: a processor with PKU has it (SDM "Protection Keys").
    Feature("pku", 7, 0, ECX, 3, CR4.PKE.mask, xcr0=_PKRU, needs=("xsave",)),
    Feature("pks", 7, 0, ECX, 31, CR4.PKS.mask, msrs=(IA32_PKRS,)),
    Feature("arch-capabilities", 7, 0, EDX, 29, msrs=(IA32_ARCH_CAPABILITIES,)),
    Feature("nx", 0x80000001, 0, EDX, 20, efer=EFER.NXE.mask),
    Feature("pdpe1gb", 0x80000001, 0, EDX, 26),
    Feature("rdtscp", 0x80000001, 0, EDX, 27, instructions=("rdtscp",), msrs=(IA32_TSC_AUX,)),
)
FEATURES: Final = {feature.name: feature for feature in _TABLE}

# What every model has: TCG runs it, or the machine is built on it.
_ALWAYS: Final = {
    # SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES
    (1, 0, ECX): sum(1 << bit for bit in (0, 1, 9, 13, 19, 20, 22, 23, 25)),
    # FPU TSC MSR PAE CX8 CMOV CLFSH MMX FXSR SSE SSE2; APIC by IA32_APIC_BASE
    (1, 0, EDX): sum(1 << bit for bit in (0, 4, 5, 6, 8, 15, 19, 23, 24, 25, 26)),
    # BMI1 BMI2 ERMS
    (7, 0, EBX): sum(1 << bit for bit in (3, 8, 9)),
    # LAHF in 64-bit mode, LZCNT
    (0x80000001, 0, ECX): 1 << 0 | 1 << 5,
    # 64-bit mode; SYSCALL in 64-bit mode only
    (0x80000001, 0, EDX): 1 << 29,
}
_CR4_ALWAYS: Final = CR4.TSD.mask | CR4.PAE.mask | CR4.PCE.mask | CR4.OSFXSR.mask | CR4.OSXMMEXCPT.mask
_EFER_ALWAYS: Final = EFER.SCE.mask | EFER.LME.mask | EFER.LMA.mask
LEAST_ADDRESS, MOST_ADDRESS = 36, 52


class BadFeatures(ValueError):
    """A processor that cannot be, or a name that is none."""


def _known(names: Iterable[str]) -> frozenset[str]:
    found = frozenset(names)
    unknown = sorted(found - FEATURES.keys())
    if unknown:
        raise BadFeatures(f"{unknown[0]!r} is no feature of a processor here")
    return found


@frozen(slots=False)
class Features:
    """A processor's features.

    Attributes:
        model: its name, for people.
        signature: CPUID's family, model and stepping.
        names: the features that it has.
        maxphyaddr: how many bits a physical address has (MAXPHYADDR).

    Raises `BadFeatures` where one feature needs another, or the address width is none.
    """

    model: str
    signature: int
    names: frozenset[str] = field(converter=_known)
    maxphyaddr: int

    def __attrs_post_init__(self) -> None:
        """Check that the features go together."""
        for name in sorted(self.names):
            for other in FEATURES[name].needs:
                if other not in self.names:
                    raise BadFeatures(f"the processor feature {name} needs {other}")
        if not LEAST_ADDRESS <= self.maxphyaddr <= MOST_ADDRESS:
            raise BadFeatures(f"maxphyaddr is from {LEAST_ADDRESS} to {MOST_ADDRESS}, not {self.maxphyaddr}")

    def __contains__(self, name: str) -> bool:
        """Tell whether the processor has a feature."""
        return name in self.names

    @cached_property
    def cr4(self) -> int:
        """The bits of CR4 that may be set."""
        return _CR4_ALWAYS | sum(FEATURES[name].cr4 for name in self.names)

    @cached_property
    def efer(self) -> int:
        """The bits of IA32_EFER that may be set."""
        return _EFER_ALWAYS | sum(FEATURES[name].efer for name in self.names)

    @cached_property
    def xcr0(self) -> int:
        """The components that XSAVE manages."""
        return sum(FEATURES[name].xcr0 for name in self.names)

    @cached_property
    def undefined(self) -> frozenset[str]:
        """The mnemonics that are #UD."""
        return frozenset(m for f in _TABLE if f.name not in self.names for m in f.instructions)

    @cached_property
    def no_msrs(self) -> frozenset[int]:
        """The MSRs that do not exist here, of those that some processor has."""
        return frozenset(m for f in _TABLE if f.name not in self.names for m in f.msrs)

    @cached_property
    def vmx(self) -> Capabilities | None:
        """What VMX offers, or None without VMX."""
        if "vmx" not in self.names:
            return None
        from ..vmx.caps import Capabilities  # noqa: PLC0415  (most guests never come here)

        return Capabilities(self.names, self.cr4, self.efer, self.maxphyaddr)

    @cached_property
    def _words(self) -> dict[tuple[int, int, int], int]:
        words = dict(_ALWAYS)
        for name in self.names:
            _, leaf, subleaf, register, bit, *_ = FEATURES[name]
            words[leaf, subleaf, register] = words.get((leaf, subleaf, register), 0) | 1 << bit
        return words

    def cpuid(self, leaf: int, subleaf: int, register: int) -> int:
        """Give the feature bits of one register of a CPUID leaf."""
        return self._words.get((leaf, subleaf, register), 0)


def _model(model: str, signature: int, maxphyaddr: int, without: str = "") -> Features:
    return Features(model, signature, FEATURES.keys() - _ON_REQUEST - set(without.split()), maxphyaddr)


# In no model: a kernel that finds VMX uses it.
_ON_REQUEST: Final = frozenset({"vmx"})
_NO_KEYS: Final = "pku pks"
_EARLY: Final = (
    "arch-capabilities pcid invpcid smep smap umip fsgsbase x2apic tsc-deadline tsc-adjust"
    " xsave xsaveopt xsavec xgetbv1 xsaves pdpe1gb rdtscp"
)
# Which features a model has is what a processor of that kind has; the signature is that processor's.
MODELS: Final = {
    features.model: features
    for features in (
        _model("pks", 0x000806F8, 52),  # everything, as a server of 2023
        _model("pku", 0x00050654, 46, "pks umip arch-capabilities"),  # keys of user pages alone, as a server of 2017
        _model("pcid", 0x000406E3, 39, f"{_NO_KEYS} umip arch-capabilities"),  # no keys, as a notebook of 2015
        _model("x86-64", 0x00000F43, 36, f"{_NO_KEYS} {_EARLY}"),  # the first with NX, of 2005
    )
}
DEFAULT: Final = MODELS["pks"]
_INDENT: Final = 10 * " "


def parse(text: str) -> Features:
    """Read ``MODEL[,+FEATURE][,-FEATURE][,maxphyaddr=BITS]``; raises `BadFeatures`."""
    name, *changes = text.split(",")
    model = MODELS.get(name)
    if model is None:
        raise BadFeatures(f"{name!r} is no processor; there are {', '.join(MODELS)}")
    names, maxphyaddr = set(model.names), model.maxphyaddr
    for change in changes:
        key, _, value = change.partition("=")
        if key == "maxphyaddr" and value.isascii() and value.isdigit():
            maxphyaddr = int(value[:3])
        elif change[:1] == "+":
            names.add(change[1:])
        elif change[:1] == "-":
            names -= _known([change[1:]])
        else:
            raise BadFeatures(f"{change!r} is no +FEATURE, -FEATURE or maxphyaddr=BITS")
    return Features(model.model, model.signature, names, maxphyaddr)


def listing() -> str:
    """Give models and features, for a reader."""
    from textwrap import wrap  # noqa: PLC0415  (for this list only)

    lines = ["Models, each with all features but those named:"]
    for features in MODELS.values():
        lacks = [name for name in FEATURES if name not in features]
        default = " (default)" if features is DEFAULT else ""
        lines.append(f"  {features.model:8}{features.maxphyaddr}-bit physical addresses{default}")
        lines += (
            wrap(f"without {' '.join(lacks)}", 100, initial_indent=_INDENT, subsequent_indent=_INDENT) if lacks else []
        )
    lines.append("Features:")
    lines += [f"  {f.name:14}" + (f"needs {' '.join(f.needs)}" if f.needs else "") for f in _TABLE]
    return "\n".join(line.rstrip() for line in lines)
