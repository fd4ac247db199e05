"""Control registers and flags as declared words (SDM "Control Registers", "EFLAGS Register", "Debug Registers")."""

from __future__ import annotations

from .word import Bits, Word


class CR0(Word):
    """CR0."""

    PE = Bits(0)
    MP = Bits(1)
    EM = Bits(2)
    TS = Bits(3)
    ET = Bits(4)
    NE = Bits(5)
    WP = Bits(16)
    AM = Bits(18)
    NW = Bits(29)
    CD = Bits(30)
    PG = Bits(31)


class CR3(Word):
    """CR3 with CR4.PCIDE set; without it bits 4:3 are PCD and PWT."""

    PCID = Bits(11, 0)
    BASE = Bits(51, 12)
    LAM_U57 = Bits(61)
    LAM_U48 = Bits(62)
    NOFLUSH = Bits(63)


class CR4(Word):
    """CR4."""

    VME = Bits(0)
    PVI = Bits(1)
    TSD = Bits(2)
    DE = Bits(3)
    PSE = Bits(4)
    PAE = Bits(5)
    MCE = Bits(6)
    PGE = Bits(7)
    PCE = Bits(8)
    OSFXSR = Bits(9)
    OSXMMEXCPT = Bits(10)
    UMIP = Bits(11)
    LA57 = Bits(12)
    VMXE = Bits(13)
    SMXE = Bits(14)
    FSGSBASE = Bits(16)
    PCIDE = Bits(17)
    OSXSAVE = Bits(18)
    SMEP = Bits(20)
    SMAP = Bits(21)
    PKE = Bits(22)
    CET = Bits(23)
    PKS = Bits(24)
    UINTR = Bits(25)
    LASS = Bits(27)
    LAM_SUP = Bits(28)


class EFER(Word):
    """IA32_EFER."""

    SCE = Bits(0)
    LME = Bits(8)
    LMA = Bits(10)
    NXE = Bits(11)


class RFLAGS(Word):
    """RFLAGS."""

    CF = Bits(0)
    PF = Bits(2)
    AF = Bits(4)
    ZF = Bits(6)
    SF = Bits(7)
    TF = Bits(8)
    IF = Bits(9)
    DF = Bits(10)
    OF = Bits(11)
    IOPL = Bits(13, 12)
    NT = Bits(14)
    RF = Bits(16)
    VM = Bits(17)
    AC = Bits(18)
    VIF = Bits(19)
    VIP = Bits(20)
    ID = Bits(21)


class DR6(Word):
    """DR6."""

    B0 = Bits(0)
    B1 = Bits(1)
    B2 = Bits(2)
    B3 = Bits(3)
    BLD = Bits(11)
    BD = Bits(13)
    BS = Bits(14)
    BT = Bits(15)
    RTM = Bits(16)


class DR7(Word):
    """DR7."""

    L0 = Bits(0)
    G0 = Bits(1)
    L1 = Bits(2)
    G1 = Bits(3)
    L2 = Bits(4)
    G2 = Bits(5)
    L3 = Bits(6)
    G3 = Bits(7)
    LE = Bits(8)
    GE = Bits(9)
    RTM = Bits(11)
    GD = Bits(13)
    RW0 = Bits(17, 16)
    LEN0 = Bits(19, 18)
    RW1 = Bits(21, 20)
    LEN1 = Bits(23, 22)
    RW2 = Bits(25, 24)
    LEN2 = Bits(27, 26)
    RW3 = Bits(29, 28)
    LEN3 = Bits(31, 30)


class PFErr(Word):
    """The page-fault error code (SDM "Page-Fault Exceptions")."""

    P = Bits(0)
    W = Bits(1)
    U = Bits(2)
    RSVD = Bits(3)
    I = Bits(4)
    PK = Bits(5)
    SS = Bits(6)
    HLAT = Bits(7)
    SGX = Bits(15)
