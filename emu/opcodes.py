"""Ordinary instructions and their lengths: opcode maps for the search for sensitive ones, which asks Capstone about the rest.

Sources: SDM volume 2, "Instruction Format", "ModR/M and SIB Bytes" and "Opcode Map".
"""

from __future__ import annotations

from typing import Final

_ASK, _MODRM, _BY_SIZE, _WIDE, _GROUP, _END, _REFUSED, _MEMORY, _REGISTER, _PREFIX, _NO_66 = (
    1 << bit for bit in range(4, 15)
)
_IMMEDIATE: Final = 15  # the other bits of a form: bytes of an immediate
# In the maps: `.` ask; `n` no operand bytes; `b` imm8; `z` imm16 or imm32; `v` the same, or imm64; `m` ModRM; `B`, `Z` ModRM and an
# immediate; `g` chosen by ModRM.reg; `a`, `C`, `D` as `m`, `B`, `Z` with a memory operand; `f` with a register, in 64-bit code; `t`, `u`
# as `a`, `m`, and TCG refuses it; `p` a prefix; `j`, `J`, `r`, `R`, `M` control goes elsewhere, by rel8, rel32, nothing, imm16, ModRM.
_FORMS: Final = {
    ".": _ASK, "n": 0, "b": 1, "z": _BY_SIZE, "v": _BY_SIZE | _WIDE, "m": _MODRM, "B": _MODRM | 1, "Z": _MODRM | _BY_SIZE,
    "g": _MODRM | _GROUP, "a": _MODRM | _MEMORY | _NO_66, "C": _MODRM | _MEMORY | 1, "D": _MODRM | _MEMORY | _BY_SIZE,
    "f": _MODRM | _REGISTER, "t": _MODRM | _MEMORY | _REFUSED | _NO_66, "u": _MODRM | _REFUSED | _NO_66, "p": _PREFIX | _ASK,
    "j": _END | _NO_66 | 1, "J": _END | _NO_66 | 4, "r": _END | _NO_66, "R": _END | _NO_66 | 2, "M": _MODRM | _END | _NO_66,
}  # fmt: skip


def _forms(letters: str) -> tuple[int, ...]:
    return tuple(_FORMS[letter] for letter in letters.replace(" ", ""))


# SDM volume 2, "Opcode Map": eight a word, each row from its first opcode on.  40 to 4F are REX in 64-bit code.
_ONE_64: Final = _forms(
    "mmmmbz.. mmmmbz.. mmmmbz.. mmmmbz.. mmmmbzp. mmmmbzp. mmmmbzp. mmmmbzp."  # 00
    "........ ........ nnnnnnnn nnnnnnnn ...mppp. zZbB.... jjjjjjjj jjjjjjjj"  # 40
    "BZ.Bmmmm mmmmgggg nnnnnnnn nn...... ....nnnn bznnnnnn bbbbbbbb vvvvvvvv"  # 80
    "ggRr..gg .n...... gggg.... ........ jjjj.... JJ.j.... p.pp..gg nnnnnngg"  # C0
)
_ONE_32: Final = _forms(
    "mmmmbz.. mmmmbz.. mmmmbz.. mmmmbz.. mmmmbzp. mmmmbz.. mmmmbzp. mmmmbzp."  # 00
    "nnnnnnnn nnnnnnnn nnnnnnnn nnnnnnnn ....ppp. zZbB.... jjjjjjjj jjjjjjjj"  # 40
    "BZ.Bmmmm mmmmgggg nnnnnnnn nn...... ....nnnn bznnnnnn bbbbbbbb zzzzzzzz"  # 80
    "ggRr..gg .n...... gggg.... ........ jjjj.... JJ.j.... p.pp..gg nnnnnngg"  # C0
)
_TWO: Final = _forms(
    "gg...... ........ mm..mm.. .......g uuuu.... mm....mm nnn..... ........"  # 0F 00
    "mmmmmmmm mmmmmmmm .m..mmmm mmmmmmmm mmmmmmmm mmmm..mm B...mmm. ......mm"  # 0F 40
    "JJJJJJJJ JJJJJJJJ mmmmmmmm mmmmmmmm ...mBm.. ...mBmgm mm.m..mm ..gmmmmm"  # 0F 80
    "mm....B. nnnnnnnn .mmmmm.. mmmmmmmm mmmmmm.. mmmmmmmm .mmmmmm. mmmmmmm."  # 0F C0
)
_GROUPS: Final = {
    opcode: _forms(letters)
    for opcode, letters in {
        0x8C: "mmmmmm..", 0x8E: "m..mmm..", 0x8F: "m.......", 0xC0: "BBBBBB.B", 0xC1: "BBBBBB.B", 0xC6: "B.......", 0xC7: "Z.......",
        0xD0: "mmmmmm.m", 0xD1: "mmmmmm.m", 0xD2: "mmmmmm.m", 0xD3: "mmmmmm.m", 0xF6: "B.mmmmmm", 0xF7: "Z.mmmmmm", 0xFE: "mm......",
        0xFF: "mmM.M.m.", 0x8D: "aaaaaaaa", 0xF00: "..uu....", 0xF01: "..tt...t", 0xF1F: "m.......", 0xFAE: "....aaaa",
        0xFBA: "....BBBB",
        0xF3FAE: "ffff....", 0xF0080: "CCCCCCC.", 0xF0081: "DDDDDDD.", 0xF0083: "CCCCCCC.", 0xF00FE: "aa......", 0xF00FF: "aa......",
        0xF00F6: "..aa....", 0xF00F7: "..aa....", 0xF0FBA: ".....CCC", 0xF0FC7: ".a......",
    }.items()
}  # fmt: skip
# With F2, F3 or LOCK, which stand above the opcode here.
_REPEATED: Final = {
    (prefix << 12 | opcode): _FORMS[letter]
    for prefix, letter, opcodes in (
        (0xF2, "n", "A4 A5 A6 A7 AA AB AC AD AE AF"),
        (0xF3, "n", "90 A4 A5 A6 A7 AA AB AC AD AE AF"),
        (0xF2, "m", "F10 F11 F12 F2A F2C F2D F51 F58 F59 F5A F5C F5D F5E F5F"),
        (0xF3, "m", "F10 F11 F12 F16 F2A F2C F2D F51 F52 F53 F58 F59 F5A F5B F5C F5D F5E F5F F6F F7E F7F FB8 FBC FBD"),
        (0xF2, "B", "F70 FC2"),
        (0xF3, "B", "F70 FC2"),
        (0xF3, "g", "FAE"),
        (0xF0, "a", "00 01 08 09 10 11 18 19 20 21 28 29 30 31 86 87 FB0 FB1 FC0 FC1 FAB FB3 FBB"),
        (0xF0, "g", "80 81 83 FE FF F6 F7 FBA FC7"),
    )
    for opcode in (int(digits, 16) for digits in opcodes.split())
}  # fmt: skip
# MOV to and from control and debug registers: their ModRM byte names registers whatever its mod is.
_CONTROL: Final = frozenset(range(0xF20, 0xF24))
# Bytes behind a ModRM byte, with 32-bit or 64-bit addresses: SIB and displacement.  Above 15: SIB, whose base 5 has a displacement, too.
_SIB: Final = 16
_TAIL: Final = tuple(
    0 if modrm >= 0xC0
    else _SIB if modrm & 0xC7 == 4
    else 4 if modrm & 0xC7 == 5
    else (0, 1, 4)[modrm >> 6] + (modrm & 7 == 4)
    for modrm in range(256)
)  # fmt: skip
_LONGEST: Final = 15
_PADDING: Final = bytes(2 * _LONGEST)
_OPERAND_SIZE, _LOCK = 0x66, 0xF0  # F2 and F3 are above


def first_unusual(code: bytes, at: int, mode: int) -> int:
    """Give where in a block, from `at` on, the first instruction begins that is not known to be ordinary, or the block's length.

    The block ends where control goes elsewhere, and where TCG has cut it within an instruction that it refuses.
    """
    if mode == 16:
        return at
    one = _ONE_64 if mode == 64 else _ONE_32
    size = len(code)
    code += _PADDING
    while at < size:
        start = at
        opcode = code[at]
        form = one[opcode]
        small = wide = repeat = 0
        while form & _PREFIX:
            if opcode == _OPERAND_SIZE:
                small = 1
            elif opcode >= _LOCK:
                if repeat:
                    return start
                repeat = opcode << 12
            at += 1
            opcode = code[at]
            form = one[opcode]
        if mode == 64 and opcode & 0xF0 == 0x40:
            wide = opcode & 8
            at += 1
            opcode = code[at]
            form = one[opcode]
        if opcode == 0x0F:
            at += 1
            opcode = 0xF00 | code[at]
            form = _TWO[opcode & 0xFF]
        at += 1
        if repeat:
            opcode |= repeat
            form = _REPEATED.get(opcode, _ASK)
        if form & _MODRM:
            modrm = code[at]
            if form & _GROUP:
                form = _GROUPS[opcode][modrm >> 3 & 7]
            tail = _TAIL[modrm]
            if tail == _SIB:
                tail = 5 if code[at + 1] & 7 == 5 else 1
            at += 1 if opcode in _CONTROL else 1 + tail
            if (form & _MEMORY and modrm >= 0xC0) or (form & _REGISTER and (modrm < 0xC0 or mode != 64)):
                return start
        if form & _BY_SIZE:
            at += 8 if wide and form & _WIDE else 2 if small and not wide else 4
        else:
            at += form & _IMMEDIATE
        if form & _ASK or (small and (repeat or form & _NO_66)) or at - start > _LONGEST:
            return start
        if at > size:
            return size if form & _REFUSED else start
        if form & _END:
            return size
    return size
