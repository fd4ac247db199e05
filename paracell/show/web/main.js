// Put the page together.
async function main() {
  const place = document.getElementById("page");
  const data = await unpack();
  place.append(el("header", { class: "top" }, el("h1", {}, data.title), el("span", { class: "lead", title: data.lead }, data.lead), Theme.button()));
  for (const section of data.sections) place.append(DRAW[section.kind](section));
  document.addEventListener("keydown", (event) => {
    if (event.key === "d" && !event.ctrlKey && !event.metaKey && !event.altKey && event.target.tagName !== "INPUT") Theme.set(!Theme.dark());
  });
  document.body.dataset.ready = "yes";
}
main().catch((error) => {
  document.getElementById("page").append(el("p", { class: "part" }, "This page could not be drawn: " + error.message));
  throw error;
});
