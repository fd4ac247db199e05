"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("an exit of L1 starts a round", "part is None and name == \"VM_EXIT\" and event.source == inner", "part is None and name == \"VM_EXIT\"", "rounds: from an exit to the next entry"),
    ("an entry into L1 ends a round", "if name == \"VM_ENTRY\" and event.target == inner:", "if name == \"VM_ENTRY\":", "rounds: from an exit to the next entry"),
    ("a touch is like a VMCALL", "each = 4 if nested else 1", "each = 2 if nested else 1", "first_touches: said beforehand"),
    ("a VMREAD has no way back", "return Cost(count * each, count * each, count * cycles)\n\n\ndef first", "return Cost(count * each, count * (each - accesses), count * cycles)\n\n\ndef first", "vmcalls: said beforehand"),
    ("bare runs pay for L0", "work = costs.l0_reflect + costs.l0_merge if nested else 0", "work = costs.l0_reflect + costs.l0_merge", "vmcalls: said beforehand"),
    ("the order is by reason", "key=lambda row: (-row[2], row[0])", "key=lambda row: row[0]", "by_reason: what costs most"),
    ("entries are not crossings", "(\"VM_EXIT\", \"VM_ENTRY\")", "(\"VM_EXIT\",)", "crossings: by source and target"),
    ("a list without exits", "for edge in crossings(events)), default=0)", "for edge in crossings(events)))", "rounds: from an exit to the next entry"),
    ("level 2 only with a reflection", "max((max(edge) for edge in crossings(events)), default=0)", "2 if any(e.kind.name == \"REFLECTION\" for e in events) else 1", "rounds: from an exit to the next entry"),
    ("bare runs pay for accesses", "each = 2 + accesses if nested else 1", "each = 2 + accesses if nested else 1 + accesses", "vmcalls: said beforehand"),
    ("other events cost nothing", "sum(event.cost for event in part)", "sum(event.cost for event in part if event.kind.name in (*EDGES, \"REFLECTION\", \"MERGE\", \"EPT_FILL\", \"TABLE_STORE\"))", "rounds: from an exit to the next entry"),
)  # fmt: skip
