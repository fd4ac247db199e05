from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
LOAD = 0x100000
FLAGS = 0x10003


def image(path: Path, code: str) -> Path:
    """A flat multiboot image: the header with its address fields, then 32-bit code."""
    start = LOAD + 32
    fields = struct.pack("<5I", LOAD, LOAD, 0, 0, start)
    path.write_bytes(
        struct.pack("<III", 0x1BADB002, FLAGS, -(0x1BADB002 + FLAGS) % (1 << 32)) + fields + bytes.fromhex(code)
    )
    return path


def linux(path: Path, code: str) -> Path:
    """A bzImage of boot protocol 2.15 whose 64-bit entry is `code`."""
    header = bytearray(1024)
    header[0x1FE:0x20A] = b"\x55\xaa\xeb\x66HdrS" + struct.pack("<HH", 0x20F, 0)
    header[0x1F1], header[0x211], header[0x236] = 1, 1, 1
    struct.pack_into("<II", header, 0x22C, 0x7FFFFFFF, 0x200000)
    struct.pack_into("<I", header, 0x238, 255)
    struct.pack_into("<QI", header, 0x258, 16 << 20, 1 << 20)
    path.write_bytes(bytes(header) + bytes(0x200) + bytes.fromhex(code))
    return path


def boot(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "paracell", "boot", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=ENVIRONMENT, timeout=60)


# mov edx,0x3f8; mov al,'h'; out dx,al; mov al,'i'; out dx,al; mov edx,0x2f8; mov al,'!'; out dx,al
HI = "ba f8 03 00 00 b0 68 ee b0 69 ee ba f8 02 00 00 b0 21 ee"


def test_serial_lines_and_the_exit_port(tmp_path: Path) -> None:
    done = boot(image(tmp_path / "hi", HI + "b8 03 00 00 00 e7 f4"))  # mov eax,3; out 0xf4,eax
    assert (done.returncode, done.stdout, done.stderr) == (3 << 1 | 1, b"hi", b"!")


def test_the_boot_information_is_where_ebx_says(tmp_path: Path) -> None:
    # cmp eax,0x2badb002; jne out; mov ecx,[ebx+16]; mov eax,[ecx+3]; sub eax,'k=v\0'; out: out 0xf4,eax
    code = "3d 02 b0 ad 2b 75 0b 8b 4b 10 8b 41 03 2d 6b 3d 76 00 e7 f4"
    assert boot(image(tmp_path / "hi", code), "--append", "k=v").returncode == 1


def test_a_module(tmp_path: Path) -> None:
    (tmp_path / "module").write_bytes(b"\x2a")
    # mov ecx,[ebx+24]; mov ecx,[ecx]; movzx eax,byte [ecx]; out 0xf4,eax
    code = "8b 4b 18 8b 09 0f b6 01 e7 f4"
    assert boot(image(tmp_path / "hi", code), "--module", tmp_path / "module").returncode == 42 << 1 | 1


def test_a_linux_kernel_finds_its_command_line_and_initrd(tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"\x2a")
    # mov ecx,[rsi+0x228]; mov eax,[rcx]; sub eax,'k=v\0'; mov ecx,[rsi+0x218]; add al,[rcx]; out 0xf4,al
    code = "8b 8e 28 02 00 00 8b 01 2d 6b 3d 76 00 8b 8e 18 02 00 00 02 01 e6 f4"
    image = linux(tmp_path / "vmlinuz", code)
    done = boot(image, "--initrd", tmp_path / "initrd", "--append", "k=v")
    assert (done.returncode, done.stderr) == (42 << 1 | 1, b"")


def test_a_linux_kernel_takes_one_initrd(tmp_path: Path) -> None:
    image = linux(tmp_path / "vmlinuz", "f4")
    done = boot(image, "--initrd", image, "--module", image)
    assert done.returncode == 2
    line = f"paracell: Linux takes one initrd and no other module: {image} (2 files)"
    assert done.stderr.decode().splitlines() == [line]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("0f 0b", b"triple fault"),  # ud2, and no IDT
        ("fa f4", b"halted"),  # cli; hlt
    ],
)
def test_a_guest_that_does_not_end_by_itself_is_described(tmp_path: Path, code: str, what: bytes) -> None:
    done = boot(image(tmp_path / "bad", code))
    assert done.returncode == 125
    assert done.stdout == b""
    assert what in done.stderr.splitlines()[0]
    assert b"EIP" in done.stderr or b"RIP" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "66 ba 04 06 66 b8 00 20 66 ef",  # mov dx,0x604; mov ax,0x2000; out dx,ax
        "66 ba f9 0c b0 06 ee",  # mov dx,0xcf9; mov al,6; out dx,al
        "b0 fe e6 64",  # mov al,0xfe; out 0x64,al
        "b0 03 e6 92",  # mov al,3; out 0x92,al
    ],
    ids=["power off", "0xcf9", "keyboard controller", "port 92"],
)
def test_power_off_and_reset_end_the_run(tmp_path: Path, code: str) -> None:
    done = boot(image(tmp_path / "off", HI + code + "eb fe"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi", b"!")


def test_the_firmwares_tables_are_there(tmp_path: Path) -> None:
    # xor eax,eax; cmp dword [0xf0000],'RSD '; sete al; cmp word [0x400],0x3f8; sete ah; out 0xf4,ax
    code = "31 c0 81 3d 00 00 0f 00 52 53 44 20 0f 94 c0 66 81 3d 00 04 00 00 f8 03 0f 94 c4 66 e7 f4"
    assert boot(image(tmp_path / "hi", code)).returncode == 0x101 << 1 & 0xFF | 1


def test_memory_is_as_large_as_asked(tmp_path: Path) -> None:
    # mov eax,[ebx+8]; shr eax,10; out 0xf4,eax: MiB above the first
    code = "8b 43 08 c1 e8 0a e7 f4"
    assert boot(image(tmp_path / "m", code), "--memory", "16M").returncode == 15 << 1 | 1


def test_the_first_end_counts(tmp_path: Path) -> None:
    """A guest that goes on to the next way of ending, in the same straight line of code, changes nothing."""
    # mov eax,1; out 0xf4,eax; mov edx,0x8900; then each letter of Shutdown: mov al,letter; out dx,al
    code = "b8 01 00 00 00 e7 f4 ba 00 89 00 00" + "".join(f"b0 {letter:02x} ee" for letter in b"Shutdown")
    assert boot(image(tmp_path / "end", code)).returncode == 3
