"""Files for the loaders, made from nothing: well-formed ones by chance, with numbers near what a loader must look at."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .chance import Chance

_BORDERS: Final = (
    0, 1, 2, 7, 8, 63, 64, 0xFF, 0xFFF, 0x1000, 0x7000, 0x9000, 0xFFFF, 0x100000, 0x3FFFFFF, 0x4000000, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 1 << 32, (1 << 47) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
_MULTIBOOT: Final = 0x1BADB002
_KERNEL_AT: Final = 0x100000
_SNAPSHOT_HEAD: Final = 8 + 8  # the magic, and the length of the header


def number(chance: Chance, bits: int = 64) -> int:
    """Give a number near a border."""
    return chance.pick(_BORDERS) + chance.pick((0, 0, 1, -1, chance.below(64))) & (1 << bits) - 1


def elf(chance: Chance) -> bytes:
    """Make an ELF file, as a program, a kernel with a multiboot header or with a PVH note, with symbols or without."""
    wide = chance.random() < 0.75
    kernel = chance.random() < 0.5
    base = _KERNEL_AT if kernel else 0x400000
    count = 1 + chance.below(3)
    head, each = (64, 56) if wide else (52, 32)
    text = multiboot(chance, 0) if kernel and chance.random() < 0.6 else chance.randbytes(32)
    headers, body, at, where = [], b"", head + count * each, base
    for n in range(count):
        data = text if n == 0 else chance.randbytes(chance.below(64))
        note = n and chance.random() < 0.3
        kind = 4 if note else chance.pick((1, 1, 1, 3))
        if note:
            data = struct.pack("<III", 4, chance.pick((4, 8)), 18) + b"Xen\0" + struct.pack("<Q", base)
        elif kind == 3:
            data = b"/lib/ld.so\0"
        memory = len(data) + chance.pick((0, 0, 64, 0x1000))
        vaddr = where + at % 4096
        headers.append([kind, 7, at, vaddr, vaddr, len(data), memory, 0x1000])
        body, at = body + data, at + len(data)
        where = chance.pick((where + 0x2000, where + 0x2000, vaddr + memory - chance.below(3) - at % 4096))
    if chance.random() < 0.4:
        words = chance.pick(headers)
        words[2 + chance.below(5)] = number(chance, 64 if wide else 32)
    symbols, table = _symbols(chance, at) if wide and chance.random() < 0.5 else (b"", 0)
    program = b"".join(
        struct.pack("<IIQQQQQQ", *h)
        if wide
        else struct.pack("<8I", h[0], *(w & 0xFFFFFFFF for w in h[2:7]), h[1], h[7])
        for h in headers
    )
    entry = headers[0][3] + chance.pick((0, 0, 0, -1, headers[0][6], headers[0][6] - 1))
    fields = (2 + chance.below(2), 62 if wide else 3, 1, entry & (1 << (64 if wide else 32)) - 1, head, table, 0, head, each, count,
              64 if wide else 40, 3 if table else 0, 0)  # fmt: skip
    start = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    return start + struct.pack("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", *fields) + program + body + symbols


def _symbols(chance: Chance, at: int) -> tuple[bytes, int]:
    """Give a symbol table, its strings and the section headers for both, and where the last begin."""
    names = b"\0main\0end\0"
    entries = [
        struct.pack("<IBBHQQ", chance.below(12), chance.below(4), 0, 1, number(chance), number(chance))
        for _ in range(3)
    ]
    section = struct.Struct("<IIQQQQIIQQ")
    size = 24 * len(entries)
    sections = (
        bytes(64), section.pack(0, 2, 0, 0, at, chance.pick((size, size, number(chance))), chance.pick((2, 2, chance.below(8))), 0, 8, 24),
        section.pack(0, 3, 0, 0, at + size, len(names), 0, 0, 1, 0),
    )  # fmt: skip
    return b"".join(entries) + names + b"".join(sections), at + size + len(names)


def multiboot(chance: Chance, before: int) -> bytes:
    """Make a flat multiboot image whose header gives its addresses, or not."""
    flags = chance.pick((0, 3, 1 << 16, 1 << 16 | 3, 1 << 16, chance.getrandbits(17)))
    start = _KERNEL_AT
    size = 48 + chance.below(64)
    fields = [start + before, start, start + before + size, start + before + size + chance.below(4096), start + before]
    if chance.random() < 0.4:
        fields[chance.below(5)] = number(chance, 32)
    head = struct.pack("<III5I", _MULTIBOOT, flags, -(_MULTIBOOT + flags) & 0xFFFFFFFF, *fields)
    return bytes(before) + head + chance.randbytes(size - len(head))


def linux(chance: Chance) -> bytes:
    """Make a bzImage: the fields of the setup header that a loader reads, and a little code."""
    data = bytearray(0x400 + chance.below(64))
    sectors = chance.pick((1, 1, 4, chance.below(256)))
    data[0x1F1] = sectors
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x200:0x206] = bytes((0xEB, chance.pick((0x6A, 0x66, chance.below(256))))) + b"HdrS"
    for at, form, value in (
        (0x206, "<H", chance.pick((0x20F, 0x20C, number(chance, 16)))), (0x211, "<B", chance.pick((1, 1, chance.below(256)))),
        (0x22C, "<I", number(chance, 32)), (0x230, "<I", chance.pick((0x200000, number(chance, 32)))),
        (0x234, "<B", chance.below(2)), (0x236, "<H", chance.pick((3, 1, number(chance, 16)))), (0x238, "<I", number(chance, 32)),
        (0x258, "<Q", chance.pick((0x1000000, number(chance)))), (0x260, "<I", chance.pick((0x10000, number(chance, 32)))),
    ):  # fmt: skip
        struct.pack_into(form, data, at, value)
    return bytes(data) + bytes(512 * (sectors + 1) if sectors < 8 else 0)


def tar(chance: Chance) -> bytes:
    """Make a tar: files, directories, links of both kinds, devices, with names that meet each other."""
    out = io.BytesIO()
    pieces = ("a", "b", "c", "d", ".", "..", "", "x" * 130, "\udce9")
    with tarfile.open(
        fileobj=out, mode="w", format=chance.pick((tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT))
    ) as file:
        for _ in range(chance.below(24)):
            info = tarfile.TarInfo(
                "/".join(
                    chance.pick(pieces[:4] if chance.random() < 0.9 else pieces) for _ in range(1 + chance.below(3))
                )
            )
            info.type = chance.pick(
                (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)
            )
            info.linkname = "/".join(chance.pick(pieces[:7]) for _ in range(1 + chance.below(3)))
            info.uid, info.mode, info.mtime = number(chance, 21), number(chance, 12), number(chance, 33)
            data = chance.randbytes(chance.below(40)) if info.type == tarfile.REGTYPE else b""
            info.size = len(data)
            try:
                file.addfile(info, io.BytesIO(data))
            except ValueError:  # a name or number that this format does not hold
                continue
    return spoilt(out.getvalue(), chance) if chance.random() < 0.5 else out.getvalue()


def spoilt(data: bytes, chance: Chance) -> bytes:
    """Change a byte of a tar's header, and mend the checksum of that header."""
    if len(data) < 512:
        return data
    block = bytearray(data)
    at = chance.below(max(len(data) // 512 - 2, 1)) * 512
    block[at + chance.below(345)] = chance.pick((0, 0x20, 0x30, 0x37, 0x80, 0xFF, chance.below(256)))
    block[at + 148 : at + 156] = b" " * 8
    block[at + 148 : at + 156] = b"%06o\0 " % sum(block[at : at + 512])
    return bytes(block)


def snapshot(whole: bytes, chance: Chance) -> bytes:
    """Change some values of a snapshot's header, or its pages."""
    (length,) = struct.unpack_from("<Q", whole, 8)
    header = json.loads(whole[_SNAPSHOT_HEAD : _SNAPSHOT_HEAD + length])
    for _ in range(1 + chance.below(2)):
        _put_wrong(header, chance)
    text = json.dumps(header).encode()
    pages = whole[_SNAPSHOT_HEAD + length :]
    if chance.random() < 0.2:
        pages = chance.pick(
            (b"", pages[: len(pages) // 2], zlib.compress(bytes(chance.below(1 << 16))), chance.randbytes(16))
        )
    return whole[:8] + struct.pack("<Q", len(text)) + text + pages


def _put_wrong(value: Any, chance: Chance) -> None:
    """Replace one value somewhere inside of a JSON value."""
    while True:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.pick(keys)
        inner = value[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.9:
            value = inner
            continue
        near = [inner + 1, inner - 1, -inner, inner ^ 1 << chance.below(64)] if isinstance(inner, int) else []
        value[key] = chance.pick(
            (None, -1, 0, 1, "", "x", [], {}, 1.5, True, 1 << chance.below(80), number(chance), [0] * 3, *near, *near)
        )
        return


def damaged(data: bytes, chance: Chance) -> bytes:
    """Damage a file as no format in particular: bits, bytes, words near a border, pieces lost, doubled or cut off."""
    out = bytearray(data)
    for _ in range(1 + chance.below(3)):
        at, kind = chance.below(len(out) + 1), chance.below(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << chance.below(8)
        elif kind == 1 and at < len(out):
            out[at] = chance.below(256)
        elif kind in {2, 3}:
            width = chance.pick((2, 4, 8))
            at &= ~(width - 1)
            out[at : at + width] = number(chance, 8 * width).to_bytes(width, "little")
        elif kind == 4:
            del out[at : at + chance.below(32)]
        elif kind == 5:
            out[at:at] = out[at : at + chance.below(64)]
        else:
            del out[at:]
    return bytes(out)
