"""What students get wrong: name, the text of the solution, the text in its place, and a test that must notice."""

MISTAKES = (
    ("the whole run divided", "return dict(more - fewer)", "return {kind: count // FEW for kind, count in more.items()}", "events: native"),
    ("default prices", "run(runtime, FEW + 1, **costs)[1] - run(runtime, FEW, **costs)[1]", "run(runtime, FEW + 1)[1] - run(runtime, FEW)[1]", "cycles: at any price"),
    ("one WRPKRU", "(costs[\"syscall\"] + costs[\"sysret\"]) // 2", "costs[\"syscall\"] + costs[\"sysret\"]", "break_even: the price of a gate"),
    ("known by heart", "    fewer, more = (", "    if runtime == \"native\":\n        return {\"syscall\": 1, \"sysret\": 1}\n    fewer, more = (", "events: native"),
    ("no host in pvm", "    return names", "    return [name for name in names if name != \"HOST\"]", "path: who runs"),
    ("added up", "return run(runtime, FEW + 1, **costs)[1] - run(runtime, FEW, **costs)[1]", "s, r, w, c = (costs.get(name, default) for name, default in ((\"syscall\", 82), (\"sysret\", 75), (\"wrpkru\", 28), (\"cr3\", 186)))\n    return {\"native\": s + r, \"paracell\": 2 * w, \"pvm\": 2 * (s + r + w + c)}[runtime]", "cycles: at any price"),
    ("half of each price", "(costs[\"syscall\"] + costs[\"sysret\"]) // 2", "costs[\"syscall\"] // 2 + costs[\"sysret\"] // 2", "break_even: the price of a gate"),
)  # fmt: skip
