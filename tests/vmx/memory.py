"""A physical memory for tests, as `paracell.mmu.walk.Memory` describes it."""

from __future__ import annotations


class Words:
    """Words by address; what was never written reads as 0, above `size` as ones."""

    def __init__(self, size: int = 1 << 24) -> None:
        self.size = size
        self.words: dict[int, int] = {}

    def read64(self, address: int) -> int:
        return self.words.get(address, 0) if address < self.size else (1 << 64) - 1

    def write64(self, address: int, value: int) -> None:
        if address < self.size:
            self.words[address] = value
