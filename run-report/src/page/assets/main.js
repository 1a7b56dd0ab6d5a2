// Puts the page together.

const SECTION = 12; // most charts that are not divided by the first part of their names
const FIRST = 24; // most charts of a section before the rest is asked for

/** Divides metrics by the first part of their names, as in `train/loss`, if there are many. */
function sections(metrics) {
  if (metrics.length <= SECTION) return [["Metrics", metrics]];
  const prefix = (name) => name.includes("/") ? name.slice(0, name.indexOf("/")) : "";
  const counts = new Map();
  for (const { name } of metrics) counts.set(prefix(name), (counts.get(prefix(name)) ?? 0) + 1);
  const found = new Map([["Metrics", []]]);
  for (const metric of metrics) {
    const title = counts.get(prefix(metric.name)) > 1 && prefix(metric.name) !== "" ? prefix(metric.name) : "Metrics";
    if (!found.has(title)) found.set(title, []);
    found.get(title).push(metric);
  }
  return [...found].filter(([, metrics]) => metrics.length > 0);
}

/** Makes a section of charts that can be folded; charts are made when it is opened. */
function section(title, metrics, isOpen) {
  const details = make("details", "", { class: "section" }), summary = make("summary"), grid = make("div", "", { class: "charts" });
  summary.append(make("h2", title), make("small", String(metrics.length)));
  details.append(summary, grid);
  let made = 0;
  const more = make("button", "", { type: "button" });
  const extend = () => {
    for (const metric of metrics.slice(made, made + FIRST)) {
      const chart = new Chart(metric);
      charts.push(chart);
      grid.append(chart.element);
      watcher.observe(chart.element);
    }
    made = Math.min(metrics.length, made + FIRST);
    more.textContent = `${metrics.length - made} more`;
    more.hidden = made === metrics.length;
  };
  more.addEventListener("click", extend);
  details.append(more);
  details.addEventListener("toggle", () => { if (details.open && made === 0) extend(); });
  if (isOpen) { details.open = true; extend(); }
  return details;
}

/** Makes the charts anew; those of sections that were folded stay so. */
function fillCharts() {
  const folds = new Map([...document.querySelectorAll("#charts details")].map((one) => [one.querySelector("h2").textContent, one.open]));
  charts.length = 0;
  const all = allMetrics(), of = (kind) => all.filter((metric) => metric.kind === kind);
  const constants = of("metric").concat(of("book")).filter(isConstant);
  const changing = (kind) => of(kind).filter((metric) => !constants.includes(metric));
  const made = sections(changing("metric")).filter(([, metrics]) => metrics.length > 0)
    .map(([title, metrics], i) => section(title, metrics, folds.get(title) ?? i < 4));
  if (made.length === 0) made.push(make("p", "No metrics.", { class: "facts" }));
  const folded = [["Bookkeeping", changing("book")], ["Resources", of("resource")]];
  for (const [title, metrics] of folded) if (metrics.length > 0) made.push(section(title, metrics, folds.get(title) ?? (title === "Resources" && data.runs.length === 1)));
  $("charts").replaceChildren(...made);
  fillConstants(constants);
  return all.filter((metric) => metric.kind !== "resource").length;
}

function setDark(on) {
  document.documentElement.classList.toggle("dark", on);
  $("dark").setAttribute("aria-pressed", String(on));
  listRuns();
  redraw();
  drawTimeline();
}

function startControls() {
  const has = (way) => data.live || data.runs.some((run) => run.axes.some((axis) => (way === "step" ? axis.step : way === "epoch" ? axis.epoch : axis.t)));
  const ways = Object.keys(WAYS).filter(has);
  for (const of of [chosen, initial.chosen]) if (!ways.includes(of.way)) of.way = ways[0] ?? "step";
  $("way").append(...ways.map((way) => make("option", WAYS[way].name, { value: way })));
  $("way").value = chosen.way;
  $("way").addEventListener("change", (event) => { chosen.way = event.target.value; zoom(null); });
  for (const id of SWITCHES) {
    $(id).checked = chosen[id];
    $(id).addEventListener("change", (event) => { chosen[id] = event.target.checked; redraw(); });
  }
  const weigh = () => {
    chosen.smooth = Number($("smooth").value);
    $("weight").textContent = chosen.smooth === 0 ? "off" : chosen.smooth.toFixed(2);
    redraw();
  };
  $("smooth").value = String(initial.chosen.smooth);
  initial.chosen.smooth = Number($("smooth").value); // in steps of the slider
  $("smooth").value = String(chosen.smooth);
  $("smooth").addEventListener("input", weigh);
  weigh();
  $("filter").value = chosen.filter;
  $("filter").addEventListener("input", (event) => { chosen.filter = event.target.value; redraw(); });
  $("reset").hidden = chosen.zoom === null;
  $("reset").addEventListener("click", () => zoom(null));
  $("wide").addEventListener("change", fillTable);
  $("local").addEventListener("change", (event) => { timeline.isLocal = event.target.checked; fillTimeline(); drawTimeline(); });
  $("dark").addEventListener("click", () => { isDark = $("dark").getAttribute("aria-pressed") !== "true"; setDark(isDark); });
  window.addEventListener("resize", () => { redraw(); drawTimeline(); });
  let room = 0; // the list of runs can be made wider
  new ResizeObserver(([{ contentRect: { width } }]) => { if (width !== room) redraw(); room = width; }).observe($("plots"));
}

/** Writes how many runs and metrics there are. */
function fillHead(metrics) {
  const runs = data.runs.filter((run) => !run.gone), count = runs.length;
  document.title = count === 1 ? runs[0].run : `${count} runs`;
  $("title").replaceChildren(fitted(count === 1 ? runs[0].run : SHARED ? `${SHARED.slice(0, -1)}: ${count} runs` : `${count} runs`));
  const words = [`${metrics} ${metrics === 1 ? "metric" : "metrics"}`, ...(data.live ? [] : [localTime(Date.parse(data.created) / 1000)])];
  $("about").textContent = words.join(" · ");
  $("about").title = data.created;
}

function start() {
  recall();
  fillHead(fillCharts());
  startSidebar();
  startControls();
  fillTimeline();
  fillReceipt();
  fillTable();
  fillSettings();
  fillLogs();
  setDark(isDark ?? window.matchMedia("(prefers-color-scheme: dark)").matches);
  startLive();
}

start();
