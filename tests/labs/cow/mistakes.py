"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("no INVLPG in fork", "            self.system.invlpg(address)\n", "", "fork: each sees its own"),
    ("a frame with rubbish", "            frame = self.system.take()\n            self.system.zero(frame)\n", "            frame = self.system.take()\n", "fault: memory at the first touch"),
    ("read-only areas are writable", "if area is None or (write and not area.writable):", "if area is None:", "fault: what was not promised"),
    ("the last owner copies, too", "if self.owners[frame] > 1:", "if self.owners[frame] > 0:", "fork: no frame too many"),
    ("the parent keeps its right", "            self.system.write64(at, entry)\n            self.system.invlpg", "            self.system.invlpg", "fork: each sees its own"),
    ("tables stay behind", "            self.system.give(frame)\n", "            if level == 1:\n                self.system.give(frame)\n", "exit: every frame comes back"),
    ("a shared frame is given back", "                if self.owners[frame]:\n                    continue\n", "", "exit: every frame comes back"),
)  # fmt: skip
