"use strict";
const { shown, cells, names } = JSON.parse(document.getElementById("pictures").textContent);

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const rising = heading.getAttribute("aria-sort") === "descending" || (column === 0 && !heading.hasAttribute("aria-sort"));
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => value(a) === undefined
      ? a.cells[column].textContent.localeCompare(b.cells[column].textContent)
      : value(a) - value(b);
    const rows = [...table.tBodies[0].rows].sort((a, b) => rising ? compare(a, b) : compare(b, a));
    table.tBodies[0].append(...rows);
  }));
}

const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

const draw = (one) => {
  const pair = element("div", { className: "pair" }, element("img", { src: one.source, alt: one.path }));
  if (one.heat) pair.append(element("img", { src: one.heat, alt: `Grad-CAM for ${one.predicted}` }));
  const caption = element("figcaption", {}, "predicted ", element("strong", { textContent: one.predicted }), ` (${one.confidence})`,
    element("span", { className: "path" }, one.path.slice(0, one.path.length - one.tail.length),
      element("wbr", {}), element("span", { className: "tail", textContent: one.tail })));
  return element("figure", { className: "picture" }, pair, caption);
};

const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("[data-cell]")) {
  button.addEventListener("click", () => {
    const [truth, chosen] = button.dataset.cell.split("-").map((label) => names[label]);
    const pictures = cells[button.dataset.cell].map((number) => draw(shown[number]));
    const some = pictures.length < Number(button.textContent.replace(/\D/g, "")) ? `, ${pictures.length} of ${button.textContent.trim()}` : "";
    dialog.querySelector("h2").textContent = `${truth}, predicted as ${chosen}${some}`;
    dialog.querySelector(".gallery").replaceChildren(...pictures);
    dialog.showModal();
  });
}
