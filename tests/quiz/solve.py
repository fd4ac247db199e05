"""Answers to quiz questions as a reader finds them: from the printed text and the models of tests/model alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from paracell.fuzz.model.paging import PS, Access, Outcome, State, translate

from ..model import ept

if TYPE_CHECKING:
    from paracell.quiz.question import Question

WIDTH: Final = 46
PAGE: Final = 4096
FRAME: Final = 0x000F_FFFF_FFFF_F000


def text(question: Question) -> str:
    return "\n".join((*question.given, question.asked))


def number(name: str, said: str) -> int:
    found = re.search(rf"\b{name} (?:is )?(0x[0-9a-f]+|\d+)", said)
    assert found, (name, said)
    return int(found[1], 0)


def words(said: str) -> dict[int, int]:
    return {int(at, 16): int(word, 16) for at, word in re.findall(r"at (0x[0-9a-f]+): (0x[0-9a-f]{16})\b", said)}


def accessed(said: str) -> tuple[str, int]:
    found = re.search(r"\bA (?:supervisor )?(read|write|fetch)s?\b.*? at (0x[0-9a-f]+):", said)
    assert found, said
    return found[1], int(found[2], 16)


def by_hand(memory: dict[int, int], root: int, gva: int) -> list[int]:
    """Give the entries that a walk meets, and zeros for those behind its end."""
    out, at = [], root
    for shift in (39, 30, 21, 12):
        entry = memory.get(at + (gva >> shift & 511) * 8, 0) if at >= 0 else 0
        out.append(entry)
        ends = not entry & 1 or (entry & PS and shift in (21, 30))
        at = -1 if ends else entry & FRAME
    return out


def access(kind: str, *, user: bool) -> Access:
    return Access(write=kind == "write", fetch=kind == "fetch", user=user)


def said_of(outcome: Outcome, *, physical: bool) -> str:
    """Give the beginning of the answer's line."""
    if outcome.error is not None:
        return f"#PF, error code {outcome.error:#x}:"
    return f"physical {outcome.address:#x}" if physical else "allowed"


def walk(said: str) -> str:
    kind, gva = accessed(said)
    entries = by_hand(words(said), number("CR3", said), gva)
    state = State(maxphyaddr=WIDTH)
    return said_of(translate(state, access(kind, user=False), gva, tuple(entries)), physical=True)


def rights(said: str) -> str:
    kind, gva = accessed(said)
    entries = tuple(int(word, 16) for word in re.findall(r"^  P\w+ +(0x[0-9a-f]{16})$", said, re.MULTILINE))
    assert len(entries) == 4
    state = State(
        wp=bool(number("CR0.WP", said)), smep=bool(number("CR4.SMEP", said)), smap=bool(number("CR4.SMAP", said)),
        nxe=bool(number("EFER.NXE", said)), ac=bool(number("RFLAGS.AC", said)), maxphyaddr=WIDTH,
    )  # fmt: skip
    return said_of(translate(state, access(kind, user=number("CPL", said) == 3), gva, entries), physical=False)


def keys(said: str) -> str:
    pkru = number("PKRU", said)
    if "Which EAX" in said:
        closed, read_only, free = (int(n) for n in re.findall(r"key (\d+)", said))
        value = pkru | 3 << 2 * closed
        value = value & ~(3 << 2 * read_only) | 2 << 2 * read_only
        return f"EAX = {value & ~(3 << 2 * free):#010x}"
    if "which keys may" in said:
        readable = [str(k) for k in range(16) if not pkru >> 2 * k & 1]
        writable = [str(k) for k in range(16) if not pkru >> 2 * k & 3]
        return f"read {' '.join(readable) or 'none'}; write {' '.join(writable) or 'none'}"
    kind, gva = accessed(said)
    leaf = int(re.findall(r"PTE +(0x[0-9a-f]{16})", said)[0], 16)
    state = State(
        pke=True, pks=True, wp=bool(number("CR0.WP", said)), pkru=pkru, pkrs=number("IA32_PKRS", said), maxphyaddr=WIDTH
    )
    entries = (0x1027, 0x1027, 0x1027, leaf)
    return said_of(translate(state, access(kind, user=number("CPL", said) == 3), gva, entries), physical=False)


# ---- two dimensions ----------------------------------------------------------------------------------------------------


class Exit(Exception):
    """The EPT refuses."""


def two_dimensions(said: str) -> str:
    """Walk the guest's tables, each address through the EPT; what the leaf and its two EPT entries do is the model's to say."""
    kind, gva = accessed(said)
    memory, eptp = words(said), int(re.findall(r"top table is at (0x[0-9a-f]+)", said)[0], 16)
    user, dirty = number("CPL", said) == 3, "A and D flags for EPT are on" in said
    leaf_of: dict[int, int] = {}

    def through(gpa: int) -> int:
        """Give the EPT's last entry for an address; the other three are open."""
        at = eptp
        for shift in (39, 30, 21):
            at = memory[at + (gpa >> shift & 511) * 8] & FRAME
        leaf_of[gpa // PAGE] = entry = memory[at + (gpa >> 12 & 511) * 8]
        return entry

    table, reads, guests = number("CR3", said), 0, 0
    for shift in (39, 30, 21, 12):
        gpa = table + (gva >> shift & 511) * 8
        of_table = through(gpa)
        reads += 4
        use = ept.R | ept.W if dirty else ept.R
        what = ept.second(of_table & 7, use, mode_based=False)
        entry = memory.get((of_table & FRAME) + gpa % PAGE, 0)
        last = shift == 12 or (what == "done" and entry & PS) or (what == "done" and not entry & 1)
        if what == "done":
            reads, guests = reads + 1, guests + 1
        if last or what != "done":
            break
        table = entry & FRAME
    final = (entry & FRAME) + (gva & (1 << shift) - 1)
    of_page = through(final) if what == "done" and entry & 1 else 0
    case = ept.Case(entry & 0xFFF | entry & ept.XD, of_table & 7, of_page & 7, dirty, False, kind, user, True)
    got = ept.outcome(case)
    counts = f"{reads + 4 * (got.what != '#PF' and not got.at_table)} entries read, {guests} of the guest's tables"
    if got.what == "#PF":
        return f"#PF, error code {got.number:#x}:…; {counts}"
    if got.what == "done":
        return f"physical {(of_page & FRAME) + final % PAGE:#x}…; {counts}"
    at = gpa if got.at_table else final
    tail = f"qualification {got.number:#x}" if got.what == "violation" else "no qualification"
    return f"VM exit {48 if got.what == 'violation' else 49}, EPT {got.what} at {at:#x}, {tail}…; {counts}"


# ---- gates and exits ---------------------------------------------------------------------------------------------------


def gate(said: str) -> str:
    if "such calls" in said:
        calls = int(re.findall(r"do (\d+) such", said)[0])
        cost = {name: number(name, said) for name in ("syscall", "sysret", "wrpkru", "cr3")}
        trap = cost["syscall"] + cost["sysret"]
        each = {"native": trap, "runv": trap, "paracell": 2 * cost["wrpkru"]}
        each["pvm"] = 2 * (trap + cost["wrpkru"] + cost["cr3"])
        runtime = re.findall(r"Runtime (\w+)", said)[0]
        return f"{calls * each[runtime]} cycles"
    eax = number("EAX", said)
    if number("ECX", said) or number("EDX", said):
        return "#GP(0) at WRPKRU: PKRU stays"
    passes = eax == 0 if "jumps to xgate_enter" in said else eax & 0xC == 0xC
    return f"PKRU {eax:#010x}, and {'it goes on' if passes else 'the check refuses: #UD'}"


_CONTROL: Final = {
    "hlt": (7, 12, 0), "invlpg (%rax)": (9, 14, 0x400), "rdtsc": (12, 16, 0), "pause": (30, 40, 0), "rdpmc": (11, 15, 0),
    "mov %rax, %dr7": (23, 29, 7), "mov %cr3, %rax": (16, 28, 3 | 1 << 4),
}  # fmt: skip


def exits(said: str) -> str:
    if "VMCALL" in said:
        return _calls(said)
    text = re.findall(r"executes (.*) in 64-bit", said)[0]
    found: tuple[int, int] | None = None
    if text in _CONTROL:
        bit, reason, qualification = _CONTROL[text]
        found = (reason, qualification) if number("controls", said) >> bit & 1 else None
    elif re.match(r"(in|out) ", text):
        port, size = number("DX", said), {"%al": 1, "%ax": 2, "%eax": 4}[re.findall(r"%(?:al|ax|eax)", text)[0]]
        byte, bits = (int(n, 16) for n in re.findall(r"byte (0x\w+): (0x\w+)", said)[0])
        marked = any(p // 64 == byte // 8 and bits >> p % 64 & 1 for p in range(port, port + size))
        found = (30, size - 1 | (text.startswith("in ") << 3) | port << 16) if marked else None
    elif text in {"rdmsr", "wrmsr"}:
        found = (32 if text == "wrmsr" else 31, 0) if _msr(said, text) else None
    elif text.endswith("cr3"):
        targets = re.findall(r"0x\w+", re.findall(r"values: (.*);", said)[0])[: number("count", said)]
        found = None if f"{number('RAX', said):#x}" in targets else (28, 3)
    else:
        which = int(text[-1])
        differs = number("mask", said) & (number("shadow", said) ^ number("RAX", said))
        found = (28, which) if differs else None
    if found is None:
        return "no exit"
    return f"exit reason {found[0]} (…), qualification {found[1]:#x}"


def _msr(said: str, text: str) -> bool:
    """Bitmaps: reads of low MSRs, of high ones, then writes ("MSR-Bitmap Address"): 1 KiB each."""
    which = number("ECX", said)
    byte, bits = (int(n, 16) for n in re.findall(r"byte (0x\w+): (0x\w+)", said)[0])
    low, high = which < 0x2000, 0xC0000000 <= which < 0xC0002000
    if not (low or high):
        return True
    at = (which & 0x1FFF) + 8 * (0x400 * high + 0x800 * (text == "wrmsr"))
    return at // 64 == byte // 8 and bool(bits >> at % 64 & 1)


def _calls(said: str) -> str:
    calls = int(re.findall(r"do (\d+) VMCALLs", said)[0])
    nested = "The host is a virtual machine itself" in said
    names = ("vm_exit", "vm_entry", *(("l0_reflect", "l0_merge") if nested else ()))
    cost = {name: number(name, said) for name in names}
    more = re.findall(r"VMREAD and VMWRITE (\d+) times", said)
    each = (2 if nested else 1) + (int(more[0]) if more else 0)
    cycles = each * (cost["vm_exit"] + cost["vm_entry"]) + cost.get("l0_reflect", 0) + cost.get("l0_merge", 0)
    return f"{calls * each} exits, {calls * each} entries, {calls * cycles} cycles"


def pager(said: str) -> str:
    if "request number" in said:
        counts = number("RSI", said)
        raw = [int(word, 16) for word in re.findall(r"^  (0x.*)$", said, re.MULTILINE) for word in word.split()]
        unbinds = raw[: counts >> 32]
        assert len(raw) == (counts >> 32) + (counts & 0xFFFFFFFF)
        pages = [sum(1 << (word & 15) for word in part) for part in (raw[len(unbinds) :], unbinds)]
        top = max((word & ~0xFFF) + ((1 << (word & 15)) - 1) * PAGE for word in raw)
        return f"binds {pages[0]}, unbinds {pages[1]}; the highest page is {top:#x}"
    size, around = (int(re.findall(p, said)[0]) for p in (r"of (\d+) MiB", r"aligned (\d+) KiB"))
    begin = int(re.findall(r"MiB at (0x[0-9a-f]+)", said)[0], 16)
    blocks = {page // (around << 10) for page in range(begin, begin + (size << 20), PAGE)}
    below = 0 if "policy pager" in said else size * 256
    return f"{len(blocks)} page faults, {below} second-level faults"


SOLVE: Final = {
    "walk": walk,
    "rights": rights,
    "keys": keys,
    "ept": two_dimensions,
    "gate": gate,
    "exits": exits,
    "pager": pager,
}
