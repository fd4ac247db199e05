"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("writable before the first write", "(every & RW if entry & D else 0)", "every & RW", "accessed and dirty bits, and the first write"),
    ("rights of the last entry only", "every, never = every & entry, never | entry & XD", "every, never = entry, entry & XD", "rights of all four entries"),
    ("P of the processor's fault", "                return said\n", "                return error\n", "the guest's own faults: not present"),
    ("the guest's address in the shadow", "host.frame(entry & FRAME)", "(entry & FRAME)", "fill: a page for everybody"),
    ("invlpg drops everything", "        self.host.write64(table + 8 * (address >> 12 & 511), 0)\n", "        self.load_cr3(self.cr3)\n", "invlpg: one page is forgotten, and no other"),
    ("load_cr3 keeps the shadow", "            self.host.write64(self.root + 8 * slot, 0)\n", "            pass\n", "load_cr3: other tables"),
    ("dirty although refused", "    if (error & USER", "    host.guest_write64(at, entry | A)\n        if (error & USER", "accessed and dirty bits, and the first write"),
    ("slot 511 of the root", "for slot in range(511)", "for slot in range(512)", "load_cr3: other tables"),
    ("low bits of CR3 are address", "self.cr3 = cr3 & FRAME", "self.cr3 = cr3", "fill: a page for everybody"),
    ("one level too many bits", "at = table + 8 * (address >> shift & 511)\n            entry", "at = table + 8 * (address >> shift & (511 if shift < 39 else 0xFFFFFFFF))\n            entry", "fill: a page for everybody"),
    ("a second fault for the first write", "        entry |= A | (D if error & WRITE else 0)\n        host.guest_write64(at, entry)\n", "        host.guest_write64(at, entry | A | (D if error & WRITE else 0))\n", "accessed and dirty bits, and the first write"),
    ("accessed although XD refuses", "        if (error & USER and not every & US) or (error & WRITE and not every & RW) or (error & FETCH and never):\n            return said | P\n", "        if (error & USER and not every & US) or (error & WRITE and not every & RW):\n            return said | P\n        if error & FETCH and never:\n            host.guest_write64(at, entry | A)\n            return said | P\n", "accessed and dirty bits, and the first write"),
    ("dirty once, dirty for ever", "        rights = every & US | never | (every & RW if entry & D else 0)\n", "        seen = self.__dict__.setdefault('seen', set())\n        seen |= {address >> 12} if error & WRITE else set()\n        rights = every & US | never | (every & RW if address >> 12 in seen else 0)\n", "invlpg: one page is forgotten, and no other"),
    ("a shadow kept for each CR3", "        for slot in range(511):\n            self.host.write64(self.root + 8 * slot, 0)\n", "        roots = self.__dict__.setdefault('roots', {})\n        self.root = roots.get(cr3 & FRAME) or self.host.table()\n        roots[cr3 & FRAME] = self.root\n", "load_cr3: other tables"),
)  # fmt: skip
