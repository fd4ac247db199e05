"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("dirty although refused", "    if refused:\n        return Fault(error | P)\n    memory.write64(at, entry | A | (D if access == \"write\" else 0))",
     "    memory.write64(at, entry | A | (D if access == \"write\" else 0))\n    if refused:\n        return Fault(error | P)", "walk: accessed and dirty bits"),
    ("rights of the last entry only", "        both &= entry\n", "        both = entry\n", "walk: rights"),
    ("bit 12 of a large page is reserved", "(1 << 13)", "(1 << 12)", "walk: reserved bits"),
    ("offset of 12 bits", "inside = (1 << shift) - 1", "inside = 4095", "walk: pages of 2 MiB and 1 GiB"),
    ("not present sets P", "return Fault(error)\n", "return Fault(error | P)\n", "walk: an entry that is not present"),
    ("bits 63:48 are in the first number", "    a, b, c, d = (address >> shift & 511 for _, shift in LEVELS)", "    a, b, c, d = address >> 39, *(address >> shift & 511 for _, shift in LEVELS[1:])", "indexes: the four parts of an address"),
    ("bits 63:48 are in the first index", "(address >> shift & 511)\n", "(address >> shift & (511 if level < 4 else -1))\n", "walk: a present page"),
    ("CR3 is the table's address", "table = cr3 & FRAME", "table = cr3", "walk: a present page"),
)  # fmt: skip
