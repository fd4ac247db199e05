// Pictures of the machine's state, shared by traces and snapshots: keys, registers, stack, walk, VMCS.

// PKRU as 16 squares (SDM "Protection Keys"): AD, no access; WD, read only.
function keysPicture(pkru, title) {
  const value = BigInt(pkru);
  const squares = [];
  for (let key = 0; key < 16; key += 1) {
    const ad = (value >> BigInt(2 * key)) & 1n, wd = (value >> BigInt(2 * key + 1)) & 1n;
    const [state, says] = ad ? ["none", "no access"] : wd ? ["read", "read only"] : ["all", "read and write"];
    squares.push(el("div", { class: "key " + state, title: `key ${key}: ${says} (AD${key}=${ad}, WD${key}=${wd})` },
      el("b", {}, String(key)), el("span", {}, ad ? "–" : wd ? "r" : "rw")));
  }
  return el("div", { class: "block keys-block" }, el("h3", {}, title || "PKRU ", el("code", {}, pkru)),
    el("div", { class: "keys", role: "img", "aria-label": "rights by protection key" }, squares),
    el("p", { class: "soft small" }, "rw read and write · r read only (WD) · – no access (AD)"));
}

const GENERAL = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags"];
const CONTROL = ["cr0", "cr2", "cr3", "cr4", "efer", "fs_base", "gs_base", "k_gs_base", "pkru", "pkrs", "cs", "ss", "ds", "es", "fs", "gs", "cpl", "guest_level"];

function registersPicture(registers, changed) {
  const one = (name) => (registers[name] === undefined ? null :
    el("div", { class: "register" + (changed.has(name) ? " changed" : "") }, el("span", {}, name), el("code", {}, registers[name])));
  const note = changed.size ? el("span", { class: "soft" }, " marked: changed since the event before") : null;
  return el("div", { class: "block" }, el("h3", {}, "Registers", note),
    el("div", { class: "registers" }, GENERAL.map(one)), el("div", { class: "registers below" }, CONTROL.map(one)));
}

function stackPicture(frames) {
  return el("div", { class: "block" }, el("h3", {}, "Call stack ", el("span", { class: "soft" }, "by frame pointers, innermost first")),
    el("ol", { class: "stack", start: 0 }, frames.map((frame) => el("li", {}, el("code", {}, frame)))));
}

function flag(name, on, decided) {
  return el("span", { class: "flag" + (on ? " on" : "") + (decided ? " decided" : ""), title: `${name} is ${on ? 1 : 0}${decided ? ": this bit decided" : ""}` }, name);
}

// One entry of a table: its index, its flags, where it is and what it holds.
function entryCard(step, extra) {
  const decided = new Set(step.decided);
  const flags = step.flags.map(([name, on]) => flag(name, on, decided.has(name)));
  if (step.key !== undefined) flags.push(el("span", { class: "flag on" + (step.keyDecided ? " decided" : ""), title: "protection key" }, "key " + step.key));
  return el("div", { class: "entry" + (step.mask ? " refuses" : "") },
    el("div", { class: "entry-head" }, el("b", {}, step.level), el("span", { class: "soft" }, "[" + step.index + "]")),
    el("code", { title: "the entry" }, step.entry), el("code", { class: "soft", title: "where the entry is" }, "at " + step.at),
    el("div", { class: "flags" }, flags), step.leads ? el("div", { class: "soft small" }, "→ " + step.leads) : null, extra || null);
}

// One dimension: the guest's levels from left to right.  Two: a row for each guest-physical address, its EPT walk left, the guest's entry right.
function walkPicture(walk) {
  const head = el("h3", {}, "Walk of ", el("code", {}, walk.address), `, ${walk.access}`,
    walk.stages.length ? `: ${walk.steps.length} + ${walk.stages.reduce((n, stage) => n + stage.steps.length, 0)} entries read` : "");
  const outcome = el("p", { class: "outcome" + (walk.refused ? " bad" : " fine") }, walk.outcome);
  const block = el("div", { class: "block wide walk" }, head, outcome);
  if (walk.pdpte) block.append(el("p", { class: "soft" }, "PDPTE, in a register: ", el("code", {}, walk.pdpte)));
  if (!walk.stages.length) {
    block.append(el("div", { class: "levels" }, walk.steps.map((step) => entryCard(step))));
    return block;
  }
  const grid = el("div", { class: "levels two" });
  ["guest-physical", "EPT PML4E", "EPT PDPTE", "EPT PDE", "EPT PTE", "guest's entry"].forEach((name) => grid.append(el("div", { class: "soft small column" }, name)));
  const rows = Math.max(walk.stages.length, walk.steps.length);
  for (let i = 0; i < rows; i += 1) {
    const stage = walk.stages[i];
    grid.append(el("div", { class: "gpa" }, el("code", {}, stage ? stage.gpa : ""),
      el("div", { class: "soft small" }, i < walk.steps.length ? "of the " + walk.steps[i].level : i === walk.steps.length ? "of the page" : "")));
    for (let level = 0; level < 4; level += 1) grid.append(stage && stage.steps[level] ? entryCard(stage.steps[level]) : el("div", { class: "empty" }));
    grid.append(walk.steps[i] ? entryCard(walk.steps[i]) : el("div", { class: "empty final" }, walk.refused ? "refused" : "the page"));
  }
  block.append(el("div", { class: "scroll" }, grid));
  return block;
}

function vmcsPicture(vmcs) {
  const rows = vmcs.changed.map(([name, before, now]) =>
    el("tr", {}, el("td", {}, el("code", {}, name)), el("td", { class: "n" }, el("code", {}, before)), el("td", { class: "n" }, el("code", {}, now))));
  return el("div", { class: "block wide" },
    el("h3", {}, `${vmcs.name} at `, el("code", {}, vmcs.at), `: ${vmcs.changed.length} field${vmcs.changed.length === 1 ? "" : "s"} changed`),
    rows.length ? el("table", { class: "vmcs" }, el("thead", {}, el("tr", {}, el("th", {}, "field"), el("th", { class: "n" }, "before"), el("th", { class: "n" }, "now"))),
      el("tbody", {}, rows)) : el("p", { class: "soft" }, "No field has changed since the exit or entry before."));
}

Object.assign(DRAW, {
  state: (section) => el("section", { class: "part" }, el("h2", {}, section.title), el("div", { class: "blocks" },
    section.stack ? stackPicture(section.stack) : null, section.pkru ? keysPicture(section.pkru) : null,
    section.registers ? registersPicture(section.registers, new Set()) : null)),
  walk: (section) => el("section", { class: "part" }, el("h2", {}, section.title),
    section.walk ? walkPicture(section.walk) : el("p", { class: "soft" }, section.says)),
});
