"use strict";
document.documentElement.classList.add("has-script");

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") === "descending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const isNumber = header.classList.contains("num");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === "" || right === "") return (left === "") - (right === "");
        const order = isNumber ? Number(left) - Number(right) : left.localeCompare(right);
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

for (const tools of document.querySelectorAll("[data-filters]")) {
  const table = document.getElementById(tools.dataset.filters);
  const text = tools.querySelector("input");
  const choice = tools.querySelector("select");
  const shown = tools.querySelector("output");
  const filter = () => {
    const words = text.value.trim().toLocaleLowerCase();
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      const fits = row.cells[0].textContent.toLocaleLowerCase().includes(words);
      row.hidden = !(fits && (choice.value === "" || row.dataset.status === choice.value));
      if (!row.hidden) count += 1;
    }
    shown.textContent = `${count} of ${table.tBodies[0].rows.length} shown`;
  };
  text.addEventListener("input", filter);
  choice.addEventListener("change", filter);
  filter();
}
