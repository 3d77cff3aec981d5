"use strict";
{
  // The table of cases: sorted by a click on a column's head, filtered by category and by words.
  const table = document.querySelector("table.cases");
  const body = table?.tBodies[0];
  const rows = body ? [...body.rows] : [];
  const heads = table ? [...table.tHead.rows[0].cells] : [];
  const filters = [...document.querySelectorAll("[data-category]")];
  const words = document.querySelector("#words");
  const count = document.querySelector("#count");
  const isPressed = (button) => button.getAttribute("aria-pressed") === "true";
  const key = (row, n) => row.cells[n].dataset.key ?? row.cells[n].textContent;

  /** Numbers by size, all else as text with its numbers by size; unknown values last, whichever way the table is sorted. */
  function compare(a, b, down) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
    return down ? -order : order;
  }

  heads.forEach((head, n) => {
    const button = head.querySelector("button");
    button?.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : "down" in button.dataset;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => compare(key(a, n), key(b, n), down));
      body.append(...rows);
    });
  });

  function show() {
    const chosen = filters.filter(isPressed).map((button) => button.dataset.category);
    const wanted = (words?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = !chosen.length || chosen.includes(row.dataset.in);
      row.hidden = !(fits && wanted.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    if (count) count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} cases`;
  }

  for (const button of filters) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!isPressed(button)));
      show();
    });
  }
  words?.addEventListener("input", show);
  for (const tools of document.querySelectorAll(".filters")) tools.hidden = false;
}
