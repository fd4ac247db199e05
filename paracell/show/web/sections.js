// The simple sections: text and tables.  DRAW[kind](section) gives an element.
const DRAW = {
  text: (section) => el("section", { class: "part" }, el("h2", {}, section.title), section.lines.map((line) => el("p", {}, line))),

  table(section) {
    const right = section.head.map((name) => name.startsWith(">"));
    const body = el("tbody");
    let sorted = null, turned = false;
    const fill = () => {
      const rows = sorted === null ? section.rows : [...section.rows].sort((a, b) => (turned ? -1 : 1) * order(a[sorted], b[sorted]));
      body.replaceChildren(...rows.map((row) => el("tr", {}, row.map((cell, i) =>
        el("td", { class: right[i] ? "n" : null }, typeof cell === "number" ? grouped(cell) : cell === null ? "" : cell)))));
    };
    const sort = (column) => { turned = sorted === column && !turned; sorted = column; fill(); };
    const heads = section.head.map((name, i) => el("th", {
      class: "sorts" + (right[i] ? " n" : ""), tabindex: 0, title: "Sort", onclick: () => sort(i),
      onkeydown: (event) => { if (event.key === "Enter") sort(i); },
    }, name.replace(/^>/, "")));
    fill();
    return el("section", { class: "part" }, el("h2", {}, section.title), section.says ? el("p", { class: "soft" }, section.says) : null,
      el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), body)));
  },
};

function order(a, b) {
  const [x, y] = [a, b].map((cell) => (typeof cell === "number" ? cell : parseFloat(String(cell).replace(/,/g, ""))));
  return Number.isNaN(x) || Number.isNaN(y) ? String(a).localeCompare(String(b), "en") : x - y;
}
