// Tables are sorted by a click on a heading (or Enter on it): the first click puts the largest
// number, or the first word, on top; the next turns it round. Empty cells stay at the end.
"use strict";

function compare(a, b, numeric) {
  return numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
}

function sort(table, heading) {
  const place = heading.cellIndex;
  const numeric = heading.hasAttribute("data-numeric");
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  const order = heading.getAttribute("aria-sort") === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[place].getAttribute("data-value");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  rows.sort((one, other) => {
    const a = value(one);
    const b = value(other);
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compare(a, b, numeric);
  });
  body.append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sort(table, heading));
  }
}
