// A trace: toolbar, lanes, the list of events, the event that is chosen; mouse, keyboard and search.
const GROUP_COLOURS = ["calls", "keys", "faults", "interrupts", "exits", "tables", "plain"];
const ROW = 22;

class EventList {
  constructor(model, choose) {
    Object.assign(this, { model, choose, chosen: -1 });
    this.rows = el("div", { class: "rows" });
    this.element = el("div", { class: "list", id: "list", tabindex: 0, role: "listbox", "aria-label": "events", onscroll: () => this.draw() }, this.rows);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }
  // Only the rows in sight exist.
  draw() {
    const { model } = this, count = model.listed.length;
    this.rows.style.height = count * ROW + "px";
    const first = Math.max(Math.floor(this.element.scrollTop / ROW) - 4, 0), last = Math.min(first + Math.ceil(this.element.clientHeight / ROW) + 8, count);
    const made = [];
    for (let at = first; at < last; at += 1) {
      const i = model.listed[at], row = model.of(i), lane = model.data.lanes[model.lane[i]];
      made.push(el("div", {
        class: "row" + (i === this.chosen ? " chosen" : "") + (model.isMatch[i] ? " match" : ""), style: `top:${at * ROW}px`, "data-event": i, role: "option",
        "aria-selected": i === this.chosen ? "true" : "false", title: `${lane.name}: ${row[4]}\n${row[3]}`, onclick: () => this.choose(i),
      }, el("span", { class: "n soft" }, grouped(i + 1)), el("i", { style: `background:var(--${lane.colour})` }), el("span", { class: "what" }, row[4]),
      el("code", { class: "where" }, row[3].replace(/^.*!/, "")), el("span", { class: "n" }, grouped(row[1]))));
    }
    this.rows.replaceChildren(...(count ? made : [el("p", { class: "soft nothing" }, "No event of the kinds that are switched on.")]));
  }
  show(i) {
    this.chosen = i;
    const top = this.model.position(i) * ROW, place = this.element;
    if (top < place.scrollTop || top + ROW > place.scrollTop + place.clientHeight) place.scrollTop = top - place.clientHeight / 2;
    this.draw();
  }
}

// A sentence; a command at its end is not broken.
function remark(text) {
  const [before, command] = text.split("record with: ");
  return el("p", { class: "soft" }, command ? before + "record with: " : text, command ? el("code", { class: "command" }, command) : null);
}

function eventPicture(model, i) {
  const row = model.of(i), data = model.data, lane = data.lanes[model.lane[i]];
  const facts = el("table", { class: "facts" }, el("tbody", {},
    [["who", lane.name], ["at", `${grouped(model.at[i])} cycles, ${model.time(model.at[i])}`], ["cost", `${grouped(row[1])} cycles`],
      ["place", `${row[3]} (${row[2]})`], ...row[5].map(([name, value, says]) => [name, says ? `${value}  ${says}` : value])]
      .map(([name, value]) => el("tr", {}, el("th", {}, name), el("td", { class: "mono" }, value)))));
  const blocks = [el("div", { class: "block" }, facts)];
  const walk = data.walk[i], registers = data.detailed ? model.registers(i) : null;
  const named = Object.fromEntries(row[5].map(([name, value]) => [name, value]));
  const kind = data.kinds[row[0]];
  const side = el("div", { class: "block side" });
  if (kind === "wrpkru") side.append(keysPicture(named.old, "PKRU before "), keysPicture(named.new, "PKRU behind "));
  else if (registers && registers.pkru !== undefined) side.append(keysPicture(registers.pkru));
  if (data.stack.length && data.stack[i] >= 0) side.append(stackPicture(data.stacks[data.stack[i]]));
  blocks.push(side);
  if (walk !== undefined) blocks.push(walkPicture(data.walks[walk]));
  else if (kind === "page walk") blocks.push(plainWalk(named));
  for (const vmcs of data.vmcs[i] || []) blocks.push(vmcsPicture(vmcs));
  if (registers) blocks.push(registersPicture(registers, i ? new Set(Object.keys(data.registers[i] || {})) : new Set()));
  else blocks.push(el("div", { class: "block wide missing" }, remark(`This trace keeps no registers, call stack, walk entries or VMCS fields; ${data.how}`)));
  return [el("div", { class: "event-head" }, el("i", { style: `background:var(--${lane.colour})` }), el("h2", {}, model.label(i)),
    el("span", { class: "soft" }, `event ${grouped(i + 1)} of ${grouped(model.count)}`)), el("div", { class: "blocks" }, blocks)];
}

// Without the entries, a walk's numbers still say which of each table's 512 entries were to be read.
function plainWalk(named) {
  const gva = BigInt(named.gva);
  const part = (level) => el("div", { class: "entry" }, el("div", { class: "entry-head" }, el("b", {}, ["PTE", "PDE", "PDPTE", "PML4E"][level])),
    el("code", {}, `entry ${(gva >> BigInt(12 + 9 * level)) & 511n}`));
  return el("div", { class: "block wide walk" }, el("h3", {}, "Walk of ", el("code", {}, named.gva)),
    el("div", { class: "levels" }, [3, 2, 1, 0].slice(0, Math.max(Number(named.reads), 1)).map(part)),
    el("p", { class: "soft" }, `${Number(named.reads)} entries of the tables and ${Number(named.ept_reads)} of the EPT were read; the indexes are those of 4-level paging.`));
}

const HELP = [
  ["← →, j k", "the event before, the next one"], ["[ ]", "the last event before who runs changed, the first one behind"], ["Home End", "the first, the last event"],
  ["+ −", "zoom in, out; so does the wheel"], ["Shift ← →", "move the view; so does dragging"], ["f", "see all"], ["z", "zoom to the chosen event"],
  ["o", "axis by time, or by order: events that cost nothing lie apart"], ["/", "search; Enter and n go on, N goes back"], ["d", "light or dark"], ["Esc", "leave search or help"], ["?", "this help"],
];

DRAW.timeline = function timeline(section) {
  const model = new Model(section);
  const detail = el("div", { class: "detail", id: "detail", tabindex: 0 });
  let chosen = -1;
  const choose = (i) => {
    chosen = lanes.chosen = i;
    lanes.show(i); list.show(i);
    detail.replaceChildren(...eventPicture(model, i));
    detail.scrollTop = 0;
  };
  const extent = el("span", { class: "soft extent" });
  const lanes = new Lanes(model, choose, () => {
    const wide = Math.round(lanes.to - lanes.from);
    extent.textContent = model.byOrder ? `${grouped(wide)} events in view` : `${grouped(wide)} cycles in view, ${model.time(wide)}`;
  });
  const list = new EventList(model, choose);
  const found = el("span", { class: "soft found" });
  const search = el("input", { id: "search", type: "search", placeholder: "Search events ( / )", "aria-label": "search events", spellcheck: "false" });
  const say = () => {
    const at = model.matches.indexOf(chosen);
    found.textContent = !search.value.trim() ? "" : !model.matches.length ? "no event" : at < 0 ? `${grouped(model.matches.length)} found` : `${grouped(at + 1)} of ${grouped(model.matches.length)}`;
  };
  const seek = (way) => {
    const matches = model.matches;
    if (!matches.length) return;
    const i = way > 0 ? matches.find((m) => m > chosen) ?? matches[0] : matches.findLast((m) => m < chosen) ?? matches[matches.length - 1];
    choose(i); say();
  };
  search.addEventListener("input", () => { model.search(search.value); list.draw(); lanes.draw(); say(); });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { seek(event.shiftKey ? -1 : 1); event.preventDefault(); }
    if (event.key === "Escape") { search.value = ""; model.search(""); list.draw(); lanes.draw(); say(); search.blur(); }
    event.stopPropagation();
  });
  const counts = model.counts();
  const legend = el("div", { class: "legend", role: "group", "aria-label": "kinds of events" }, model.data.groups.map((name, group) => counts[group] ? el("label", {},
    el("input", { type: "checkbox", checked: true, "data-group": name, onchange: (event) => {
      model.shown[group] = event.target.checked; model.select(); list.draw(); lanes.draw();
    } }), el("i", { style: `background:var(--${GROUP_COLOURS[group]})` }), name, el("span", { class: "soft" }, grouped(counts[group]))) : null));
  const axis = el("button", { id: "axis", title: "Axis by time or by order (o)", onclick: () => turn() }, "By order");
  const turn = () => {
    const [first, last] = [Math.max(model.first(lanes.from), 0), Math.min(model.first(lanes.to), model.count - 1)];
    model.byOrder = !model.byOrder;
    axis.textContent = model.byOrder ? "By time" : "By order";
    lanes.view(model.from(Math.min(first, model.count - 1)), model.x(last));
  };
  const help = el("dialog", { id: "help" }, el("h2", {}, "Keyboard and mouse"),
    el("table", {}, el("tbody", {}, HELP.map(([keys, says]) => el("tr", {}, el("th", {}, keys), el("td", {}, says))))),
    el("p", { class: "soft" }, "A slice in a lane lasts from the event before; its ticks, one band for each colour of the legend, are the events."),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  const step = (by) => {
    const at = model.position(Math.max(chosen, 0));
    const next = Math.min(Math.max(chosen < 0 ? 0 : by < 0 || model.listed[at] === chosen ? at + by : at, 0), model.listed.length - 1);
    if (next >= 0) choose(model.listed[next]);
  };
  const edge = (at) => { if (model.listed.length) choose(model.listed[at]); };
  const cross = (by) => {
    let i = Math.max(chosen, 0);
    while (i + by >= 0 && i + by < model.count) { i += by; if (model.lane[i] !== model.lane[Math.max(chosen, 0)]) break; }
    choose(i);
  };
  const keys = {
    ArrowRight: () => step(1), j: () => step(1), ArrowDown: () => step(1), ArrowLeft: () => step(-1), k: () => step(-1), ArrowUp: () => step(-1),
    "]": () => cross(1), "[": () => cross(-1), Home: () => edge(0), End: () => edge(model.listed.length - 1),
    "+": () => lanes.zoom(0.5), "=": () => lanes.zoom(0.5), "-": () => lanes.zoom(2), f: () => lanes.fit(), o: turn,
    z: () => { if (chosen >= 0) { const x = model.x(chosen), wide = model.byOrder ? 30 : 3000; lanes.view(x - wide / 2, x + wide / 2); } },
    "/": () => { search.focus(); search.select(); }, n: () => seek(1), N: () => seek(-1), "?": () => help.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT" && event.target.type === "search") return;
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.shiftKey && event.key.startsWith("Arrow")) { lanes.move(event.key === "ArrowRight" ? 0.25 : -0.25); event.preventDefault(); return; }
    const act = keys[event.key];
    if (act) { act(); event.preventDefault(); }
  });
  const button = (text, title, act) => el("button", { title, onclick: act }, text);
  detail.append(el("div", { class: "empty-state" }, el("p", {}, "Choose an event: click a tick or a row, or press →."),
    model.data.notes.map(remark)));
  return el("div", { class: "trace" },
    el("div", { class: "bar" }, search, found, el("span", { class: "space" }), extent, button("−", "Zoom out (-)", () => lanes.zoom(2)), button("+", "Zoom in (+)", () => lanes.zoom(0.5)),
      button("All", "See all (f)", () => lanes.fit()), axis, button("?", "Keyboard and mouse", () => help.showModal())),
    legend, lanes.element,
    el("div", { class: "columns" }, el("div", { class: "left" }, el("div", { class: "row heads" }, el("span", { class: "n" }, "#"), el("i"), el("span", { class: "what" }, "event"),
      el("span", { class: "where" }, "place"), el("span", { class: "n" }, "cost")), list.element), detail), help);
};
