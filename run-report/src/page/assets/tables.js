// Tables: the runs, sorted by a column; their settings and their provenance side by side.

const sorted = { column: null, down: false };

/** Returns the best value of each column of a metric whose name tells which is better. */
function bestOf(columns, rows) {
  const best = new Map();
  for (const { name } of columns) {
    const metric = data.metrics.find((one) => one.kind !== "resource" && (name === `${one.name}.best` || name === `${one.name}.last`));
    const values = rows.map((row) => row[name]).filter((value) => typeof value === "number");
    if (!metric || metric.more === null || values.length < 2) continue;
    const value = metric.more ? Math.max(...values) : Math.min(...values);
    if (values.some((other) => other !== value)) best.set(name, value);
  }
  return best;
}

/** Returns the rows of the table in their order; missing values come last. */
function sortedRows() {
  const rows = data.live ? data.runs.filter((run) => !run.gone).map((run) => run.row) : data.rows.slice();
  if (sorted.column === null) return rows;
  const sign = sorted.down ? -1 : 1;
  return rows.sort((one, other) => {
    const a = one[sorted.column] ?? null, b = other[sorted.column] ?? null;
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
  });
}

function fillTable() {
  const columns = data.columns.filter((column) => $("wide").checked || !column.extra), rows = sortedRows(), best = bestOf(columns, rows);
  const head = make("tr");
  for (const { name } of columns) {
    const isSorted = sorted.column === name, mark = isSorted ? (sorted.down ? " ▼" : " ▲") : "";
    const isNumber = rows.some((row) => typeof row[name] === "number") && rows.every((row) => typeof row[name] !== "string");
    const cell = make("th", name + mark, {
      scope: "col", class: isNumber ? "number" : "", tabindex: "0", "aria-sort": isSorted ? (sorted.down ? "descending" : "ascending") : "none",
    });
    const sort = () => { sorted.down = isSorted && !sorted.down; sorted.column = name; fillTable(); };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    head.append(cell);
  }
  const body = make("tbody");
  body.append(...rows.map((row) => tableRow(row, columns, best)));
  const top = make("thead");
  top.append(head);
  $("table").replaceChildren(top, body);
}

function tableRow(row, columns, best) {
  const element = make("tr"), run = data.runs.find((run) => run.run === row.run);
  columns.forEach(({ name }, number) => {
    const value = row[name] ?? null;
    // If the last value of a metric was not finite, it is null and the count is positive.
    const metric = name.endsWith(".last") ? name.slice(0, -5) : null;
    const diverged = value === null && metric !== null && row[`${metric}.nonfinite`] > 0;
    let text = diverged ? "NaN" : value === null ? "" : typeof value === "number" ? figure(value) : String(value);
    if (name.endsWith("_s") && typeof value === "number" && !metric) text = duration(value);
    if (name === "run") text = shortName(text);
    const cell = make(number === 0 ? "th" : "td", text, { title: value === null ? text : String(value) });
    if (typeof value === "number" || diverged) cell.className = diverged ? "number bad" : "number";
    if (best.has(name) && best.get(name) === value) { cell.classList.add("best"); cell.title += " (the best)"; }
    if (name === "status") cell.className = run?.mood ?? "";
    element.append(cell);
  });
  return element;
}

/** Returns what runs have of each key, and whether they differ in it. */
function compared(runs, part) {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run[part])))];
  return keys.map((key) => {
    const values = runs.map((run) => settingText(run[part][key]));
    return { key, values, differs: values.some((value) => value !== values[0]) };
  });
}

/** Fills a table with a row a run and a column for each key in which runs differ, and a list of what is the same. */
function sideBySide(part) {
  const runs = data.runs.filter((run, number) => shown.has(number) && !run.gone && run[part]), all = compared(runs, part);
  const differing = all.filter((one) => one.differs), same = all.filter((one) => !one.differs);
  const top = make("thead"), head = make("tr"), body = make("tbody");
  head.append(make("th", "run", { scope: "col" }), ...differing.map(({ key }) => make("th", key, { scope: "col" })));
  top.append(head);
  runs.forEach((run, number) => {
    const row = make("tr");
    row.append(make("th", shortName(run.run), { scope: "row", title: run.run }));
    for (const { values } of differing) row.append(make("td", values[number], { title: values[number] }));
    body.append(row);
  });
  const table = $(part), folded = $(`${part}-same`);
  table.replaceChildren(...(differing.length > 0 ? [top, body] : []));
  table.parentElement.hidden = differing.length === 0;
  folded.hidden = same.length === 0;
  const noun = { settings: "setting", provenance: "fact", packages: "package" }[part], isOne = same.length === 1;
  const which = runs.length === 1 ? "" : `${isOne ? "is" : "are"} the same in all runs`;
  folded.querySelector("summary").textContent = `${same.length} ${noun}${isOne ? "" : "s"} ${which}`;
  folded.querySelector("dl").replaceChildren(...same.flatMap(({ key, values }) => [make("dt", key), make("dd", values[0])]));
  if (runs.length === 1 && part === "settings") folded.open = true;
}

function fillSettings() {
  sideBySide("settings");
  sideBySide("provenance");
  sideBySide("packages");
  fillMedia();
  $("configuration").hidden = $("settings").parentElement.hidden && $("settings-same").hidden;
}

/** Fills the list of metrics that never change. */
function fillConstants(metrics) {
  $("constants").hidden = metrics.length === 0;
  $("constants").querySelector("summary").textContent = `${metrics.length} constant ${metrics.length === 1 ? "metric" : "metrics"}`;
  $("constants").querySelector("dl").replaceChildren(...metrics.flatMap(({ name, curves }) => {
    const values = [...new Set(curves.map((curve) => curve.min.find((value) => value !== null)))].sort((a, b) => a - b);
    const text = values.length > 4 ? `${figure(values[0])} to ${figure(values[values.length - 1])}` : values.map(figure).join(", ");
    return [make("dt", name), make("dd", text)];
  }));
}
