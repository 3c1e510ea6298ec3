"use strict";
// Tables are sorted by a click on a heading, or by Enter or the space bar on it: ascending, descending, as it was.
// Numbers are sorted by the value behind them, not by their letters; what is unknown stands last either way.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const isUnknown = (row, column) => ["—", ""].includes(row.cells[column].textContent.trim());
  const compare = (one, other) =>
    typeof one === "number" && typeof other === "number"
      ? one - other
      : String(one).localeCompare(String(other), "en", { numeric: true });
  const sort = (column, order) => {
    const sorted = rows.slice();
    if (order !== "none") {
      const sign = order === "ascending" ? 1 : -1;
      sorted.sort((one, other) => {
        const unknown = isUnknown(one, column) - isUnknown(other, column);
        return unknown || sign * compare(value(one, column), value(other, column));
      });
    }
    body.append(...sorted);
    headings.forEach((heading, index) => heading.setAttribute("aria-sort", index === column ? order : "none"));
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      sort(column, next[heading.getAttribute("aria-sort")]);
    });
  });
}
