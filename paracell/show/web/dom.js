// Elements, the page's data, and light or dark.

// Make an element: el("td", { class: "n" }, "text", child, …).  Text is never parsed as HTML.
function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const grouped = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

async function unpack() {
  const packed = atob(document.getElementById("data").textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// The switch overrules the system's preference, until the page is closed.
const Theme = {
  listeners: [],
  system: matchMedia("(prefers-color-scheme: dark)"),
  dark() { return document.documentElement.dataset.theme === "dark"; },
  set(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    for (const listener of Theme.listeners) listener();
  },
  button() {
    const made = el("button", { id: "theme", title: "Light or dark (d)", onclick: () => Theme.set(!Theme.dark()) });
    const label = () => { made.textContent = Theme.dark() ? "Light" : "Dark"; };
    Theme.listeners.push(label);
    label();
    return made;
  },
};
Theme.set(Theme.system.matches);
Theme.system.addEventListener("change", (change) => Theme.set(change.matches));

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim(); }
