"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("writable before the first write", "(every & RW if entry & D else 0)", "every & RW", "accessed and dirty bits, and the first write"),
    ("rights of the last entry only", "every, never = every & entry, never | entry & XD", "every, never = entry, entry & XD", "rights of all four entries"),
    ("P of the processor's fault", "                return said\n", "                return error\n", "the guest's own faults: not present"),
    ("the guest's address in the shadow", "host.frame(entry & FRAME)", "(entry & FRAME)", "fill: a page for everybody"),
    ("invlpg drops everything", "        self.host.write64(table + 8 * (address >> 12 & 511), 0)\n", "        self.load_cr3(self.cr3)\n", "invlpg: one page is forgotten, and no other"),
    ("load_cr3 keeps the shadow", "            self.host.write64(self.root + 8 * slot, 0)\n", "            pass\n", "load_cr3: other tables"),
    ("dirty although refused", "    if (error & USER", "    host.guest_write64(at, entry | A)\n        if (error & USER", "accessed and dirty bits, and the first write"),
)  # fmt: skip
