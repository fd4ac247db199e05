"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("one bit for present", "if not entry & (R | W | X):", "if not entry & R:", "translate: violations and misconfigurations"),
    ("rights of the last entry only", "        every &= entry\n        if last", "        every = entry & 7\n        if last", "translate: violations and misconfigurations"),
    ("2 MiB is not known", "(shift == 21 and entry & PS)", "False", "translate: pages of 4 KiB and 2 MiB"),
    ("an entry's address counts as the page's", "\"read\", False)", "\"read\", True)", "walk: whoever refuses first"),
    ("an entry is written when the access is", "table + 8 * (address >> shift & 511), \"read\", False)", "table + 8 * (address >> shift & 511), access, False)", "walk: whoever refuses first"),
    ("the guest's entries are read by guest-physical address", "reads += [*got.reads, got.physical]", "reads += [*got.reads, table + 8 * (address >> shift & 511)]", "walk: the 24 reads"),
    ("the address of the page goes first", "    if (user and not", "    got = translate(memory, root, table | address & 0xFFF, access, True)\n    if not isinstance(got, Found):\n        return with_reads(got, reads)\n    if (user and not", "walk: whoever refuses first"),
    ("upper entries of read alone", "memory.table() | R | W | X)", "memory.table() | R)", "map_page: a guest runs on it"),
    ("upper entries get the rights of the page", "memory.table() | R | W | X)", "memory.table() | rights)", "map_page: a guest runs on it"),
    ("the first entry without the right ends the walk", "        every &= entry\n        if last", "        every &= entry\n        if not every & NEEDS[access]:\n            return Violation(gpa, kind | every << 3, reads)\n        if last", "translate: violations and misconfigurations"),
    ("nothing was read of a misconfiguration", "return Misconfiguration(gpa, reads)", "return Misconfiguration(gpa, [])", "translate: violations and misconfigurations"),
    ("nothing was read of a violation", "return Violation(gpa, kind | every << 3, reads)", "return Violation(gpa, kind | every << 3, reads[:3])", "translate: violations and misconfigurations"),
)  # fmt: skip
