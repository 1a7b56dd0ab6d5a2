"use strict";
// The data of the page, as run-report wrote it; see run-report(1).
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

/** Makes an element with text and attributes; texts are never read as HTML. */
function make(name, text = "", attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Formats a number in few digits; null was not finite. */
function figure(number) {
  if (number === null || number === undefined) return "NaN";
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(number.toPrecision(4)).toExponential();
  return String(Number(number.toPrecision(5)));
}

/** Returns whether a step is a time in seconds since 1970. */
const isTime = (step) => data.x === "time" && step > 9e8 && step < 9e9;

/** Formats a step, or a time, in full. */
const at = (step) => isTime(step) ? new Date(step * 1000).toLocaleString() : String(step);

/** Formats a step, or a time, of an axis with this range. */
function stepLabel(step, [low, high]) {
  if (!isTime(low) || !isTime(high)) return figure(step);
  const time = new Date(step * 1000);
  const day = { month: "short", day: "numeric" }, minute = { hour: "2-digit", minute: "2-digit" };
  return high - low > 172800 ? time.toLocaleDateString([], day) : time.toLocaleTimeString([], minute);
}

// Colours go round the circle by the golden angle, so that neighbours in the list differ.
const colour = (number) => `hsl(${(number * 137.5 + 210) % 360} 65% ${$("dark").ariaPressed === "true" ? 65 : 42}%)`;
const shown = new Set(data.runs.keys());
const chosen = { logx: data.log_x, logy: data.log, zoom: null, trim: false, filter: "" };
const metrics = [...new Set(data.runs.flatMap((run) => run.curves.map((curve) => curve.metric)))];
const charts = [];

const OUTLIERS = 0.01; // share of the values to leave out at either end, on demand
const SPIKE = 4; // a bucket this many times as high as most others gets a line, however thin its band

/** Returns the height that half of the buckets of a curve do not exceed. */
function usual(curve) {
  const heights = curve.min.map((least, i) => (least === null ? 0 : curve.max[i] - least)).sort((a, b) => a - b);
  return heights[heights.length >> 1] ?? 0;
}

/** One metric of all runs on a canvas. */
class Chart {
  constructor(metric) {
    this.metric = metric;
    this.curves = data.runs.flatMap((run, number) =>
      run.curves.filter((curve) => curve.metric === metric).map((curve) => ({ number, run, usual: curve.max ? usual(curve) : 0, ...curve })));
    const each = Math.max(...this.curves.map((curve) => curve.rows_each));
    const words = each > 1 ? [`min and max of up to ${each} rows`] : [];
    if (data.x) words.unshift(`over ${data.x}`);
    if (data.smooth !== null) words.push(`smoothed, weight ${data.smooth}`);
    this.element = make("figure");
    const caption = make("figcaption", metric + " ");
    caption.append(make("small", words.join("; ")));
    this.canvas = make("canvas", "", { role: "img", "aria-label": `curves of ${metric}` });
    this.element.append(caption, this.canvas);
    this.drag = null;
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", (event) => this.up(event));
    this.canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; this.draw(); });
    this.canvas.addEventListener("dblclick", () => zoom(null));
  }

  visible() { return this.curves.filter((curve) => shown.has(curve.number)); }

  /** Finds the range of what is shown. */
  range() {
    const x = [Infinity, -Infinity], y = [Infinity, -Infinity];
    const stretch = (range, value, log) => {
      if (value === null || (log && value <= 0)) return;
      if (value < range[0]) range[0] = value;
      if (value > range[1]) range[1] = value;
    };
    const values = []; // for the part of them that lies together
    const inside = (step, to) => !chosen.zoom || (to >= chosen.zoom[0] && step <= chosen.zoom[1]);
    for (const curve of this.visible()) {
      for (let i = 0; i < curve.step.length; i++) {
        const to = curve.to ? curve.to[i] : curve.step[i];
        if (!inside(curve.step[i], to)) continue;
        stretch(x, curve.step[i], chosen.logx);
        stretch(x, to, chosen.logx);
        for (const value of [curve.min[i], curve.max ? curve.max[i] : curve.min[i]]) {
          stretch(y, value, chosen.logy);
          if (chosen.trim && value !== null && !(chosen.logy && value <= 0)) values.push(value);
        }
      }
    }
    if (values.length > 0) {
      values.sort((a, b) => a - b);
      const cut = Math.floor(values.length * OUTLIERS);
      [y[0], y[1]] = [values[cut], values[values.length - 1 - cut]];
    }
    if (chosen.zoom) { x[0] = Math.max(chosen.zoom[0], chosen.logx ? Number.MIN_VALUE : -Infinity); x[1] = chosen.zoom[1]; }
    for (const range of [x, y]) {
      if (range[0] === range[1]) { const pad = Math.abs(range[0]) * 0.05 || 1; range[0] -= chosen.logx || chosen.logy ? 0 : pad; range[1] += pad; }
    }
    return x[0] < x[1] && y[0] <= y[1] ? { x, y } : null;
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    if (box.width === 0) return;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const area = { left: 56, top: 8, right: box.width - 8, bottom: box.height - 22 };
    this.area = area;
    this.scale = null;
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = style.getPropertyValue("--dim");
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.strokeRect(area.left, area.top, area.right - area.left, area.bottom - area.top);
    const range = this.range();
    if (!range) {
      pen.textAlign = "center";
      pen.fillText("nothing to draw", box.width / 2, box.height / 2);
      return;
    }
    const map = (low, high, from, to, log) => {
      const f = log ? Math.log10 : (value) => value;
      const a = f(low), b = f(high);
      const there = (value) => from + (f(value) - a) / (b - a || 1) * (to - from);
      const back = (pixel) => { const v = a + (pixel - from) / (to - from) * (b - a); return log ? 10 ** v : v; };
      return { there, back };
    };
    const x = map(...range.x, area.left, area.right, chosen.logx), y = map(...range.y, area.bottom, area.top, chosen.logy);
    this.scale = { x, y };
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of ticks(range.y, chosen.logy)) {
      pen.fillText(figure(tick), area.left - 5, y.there(tick));
      line(pen, area.left, y.there(tick), area.right, y.there(tick));
    }
    pen.textBaseline = "top";
    pen.textAlign = "center";
    for (const tick of ticks(range.x, chosen.logx)) {
      pen.fillText(stepLabel(tick, range.x), Math.min(x.there(tick), area.right - 12), area.bottom + 6);
      line(pen, x.there(tick), area.top, x.there(tick), area.bottom);
    }
    pen.save();
    pen.beginPath();
    pen.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
    pen.clip();
    for (const curve of this.visible()) this.trace(pen, curve, x, y);
    pen.restore();
  }

  /** Draws one curve: means, with a band where there are several rows in a bucket; a cross where some were not finite. */
  trace(pen, curve, x, y) {
    pen.strokeStyle = pen.fillStyle = colour(curve.number);
    pen.lineWidth = 1.5;
    const usable = (value, log) => value !== null && !(log && value <= 0);
    let path = [];
    const end = () => {
      if (curve.max && path.length > 0) {
        pen.globalAlpha = Math.min(0.25, Math.max(0.03, 1 / this.visible().length));
        pen.beginPath();
        for (const [at, , high] of path) pen.lineTo(at, high);
        for (const [at, low] of path.slice().reverse()) pen.lineTo(at, low);
        pen.fill();
        pen.globalAlpha = 1;
      }
      pen.beginPath();
      for (const [at, , , mean] of path) pen.lineTo(at, mean);
      pen.stroke();
      if (path.length === 1) pen.fillRect(path[0][0] - 2, path[0][1] - 2, 4, 4);
      path = [];
    };
    for (let i = 0; i < curve.step.length; i++) {
      const step = curve.to ? (curve.step[i] + curve.to[i]) / 2 : curve.step[i];
      const high = curve.max ? curve.max[i] : curve.min[i];
      if (!usable(step, chosen.logx) || !usable(high, chosen.logy)) { end(); continue; }
      const low = usable(curve.min[i], chosen.logy) ? y.there(curve.min[i]) : this.area.bottom;
      if (curve.max && high - curve.min[i] > SPIKE * curve.usual) line(pen, x.there(step), low, x.there(step), y.there(high));
      const mean = curve.mean && usable(curve.mean[i], chosen.logy) ? y.there(curve.mean[i]) : low;
      path.push([x.there(step), low, y.there(high), mean]);
    }
    end();
    for (const step of curve.nonfinite) {
      if (!usable(step, chosen.logx)) continue;
      const at = x.there(step), top = this.area.top + 2;
      line(pen, at - 3, top, at + 3, top + 6);
      line(pen, at - 3, top + 6, at + 3, top);
    }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - box.left, this.area.left), this.area.right);
  }

  down(event) {
    if (!this.scale || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = this.at(event);
  }

  up(event) {
    if (this.drag === null || !this.scale) return;
    const ends = [this.drag, this.at(event)].sort((a, b) => a - b);
    this.drag = null;
    if (ends[1] - ends[0] > 5) zoom(ends.map((pixel) => this.scale.x.back(pixel)));
  }

  /** Says the values under the pointer. */
  move(event) {
    if (!this.scale) return;
    const pixel = this.at(event), step = this.scale.x.back(pixel);
    this.draw();
    const pen = this.canvas.getContext("2d");
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--dim");
    line(pen, pixel, this.area.top, pixel, this.area.bottom);
    if (this.drag !== null) {
      pen.globalAlpha = 0.15;
      pen.fillStyle = pen.strokeStyle;
      pen.fillRect(Math.min(pixel, this.drag), this.area.top, Math.abs(pixel - this.drag), this.area.bottom - this.area.top);
    }
    const height = event.clientY - this.canvas.getBoundingClientRect().top;
    const lines = this.visible().map((curve) => {
      const i = nearest(curve, step);
      const high = curve.max ? curve.max[i] : curve.min[i];
      const value = high === curve.min[i] ? figure(high) : `${figure(curve.min[i])} to ${figure(high)}`;
      const steps = curve.to && curve.to[i] !== curve.step[i] ? `${at(curve.step[i])}–${at(curve.to[i])}` : at(curve.step[i]);
      const middle = (curve.mean ? curve.mean[i] : null) ?? high ?? Infinity;
      const away = Math.abs(this.scale.y.there(middle) - height);
      return { curve, text: `${curve.run.run}  ${value}  at ${steps}`, middle, away: Number.isFinite(away) ? away : 0 };
    });
    // Curves near the pointer, from top to bottom; values that are not finite are at the top.
    const near = lines.sort((a, b) => a.away - b.away).slice(0, window.innerWidth < 700 ? 5 : 12).sort((a, b) => b.middle - a.middle || 0);
    const tip = $("tip");
    tip.replaceChildren(...near.map((one) => {
      const entry = make("div"), mark = make("i");
      mark.style.background = colour(one.curve.number);
      entry.append(mark, make("span", one.text));
      return entry;
    }));
    if (lines.length > near.length) tip.append(make("div", `… and ${lines.length - near.length} more`));
    tip.hidden = lines.length === 0;
    const { offsetWidth: width, offsetHeight: tall } = tip;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - tall - 4))}px`;
  }
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

/** Returns about five round numbers in a range. */
function ticks([low, high], log) {
  const found = [];
  if (log && high / low > 10) {
    const first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high));
    const by = Math.max(1, Math.ceil((last - first) / 5));
    for (let power = first; power <= last; power += by) found.push(10 ** power);
    if (found.length > 2 || last - first > 2) return found;
    const tens = [first - 1, ...found.map(Math.log10)].map((power) => 10 ** Math.round(power));
    return tens.flatMap((ten) => [ten, 2 * ten, 5 * ten]).filter((tick) => tick >= low && tick <= high);
  }
  const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  for (let tick = Math.ceil(low / by) * by; tick <= high + by * 1e-6; tick += by) found.push(Number(tick.toPrecision(12)));
  return found.length > 0 ? found : [low];
}

/** Returns the bucket of a curve that is nearest to a step; the steps ascend. */
function nearest(curve, step) {
  let low = 0, high = curve.step.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((curve.to ? curve.to[middle] : curve.step[middle]) < step) low = middle + 1; else high = middle;
  }
  const distance = (i) => Math.max(curve.step[i] - step, step - (curve.to ? curve.to[i] : curve.step[i]), 0);
  return low > 0 && distance(low - 1) < distance(low) ? low - 1 : low;
}

let waiting = false;
/** Draws all charts, once however often it is asked for before the next frame. */
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const chart of charts) {
      chart.element.hidden = !chart.metric.includes(chosen.filter);
      if (!chart.element.hidden) chart.draw();
    }
  });
}

function zoom(range) {
  chosen.zoom = range;
  redraw();
}

/** Lists the runs, each with a box that shows or hides it. */
function listRuns() {
  $("runs").replaceChildren(...data.runs.map((run, number) => {
    const item = make("li"), label = make("label"), box = make("input", "", { type: "checkbox" });
    const mark = make("i"), status = make("small", run.status, { class: run.mood, title: run.reason ?? "" });
    box.checked = shown.has(number);
    mark.style.background = colour(number);
    box.addEventListener("change", () => {
      if (box.checked) shown.add(number); else shown.delete(number);
      redraw();
      fillSettings();
    });
    label.append(box, mark, make("span", run.run), status);
    item.append(label);
    return item;
  }));
}

const sorted = { column: null, down: false };

/** Fills the table of runs, sorted by the column whose head was clicked. */
function fillTable() {
  const columns = data.columns.filter((column) => $("wide").checked || !column.extra);
  const rows = data.rows.slice();
  if (sorted.column !== null) {
    const sign = sorted.down ? -1 : 1;
    rows.sort((one, other) => {
      const a = one[sorted.column], b = other[sorted.column];
      if (a === null || b === null) return (a === null) - (b === null); // missing values come last
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    });
  }
  const head = make("tr");
  for (const { name } of columns) {
    const mark = sorted.column === name ? (sorted.down ? " ▼" : " ▲") : "";
    const isNumber = rows.some((row) => typeof row[name] === "number") && rows.every((row) => typeof row[name] !== "string");
    const cell = make("th", name + mark, { scope: "col", class: isNumber ? "number" : "", tabindex: "0", "aria-sort": mark ? (sorted.down ? "descending" : "ascending") : "none" });
    const sort = () => {
      sorted.down = sorted.column === name && !sorted.down;
      sorted.column = name;
      fillTable();
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    head.append(cell);
  }
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    columns.forEach(({ name }, number) => {
      const value = row[name];
      // If the last value of a metric was not finite, it is null and the count is positive.
      const metric = name.endsWith(".last") ? name.slice(0, -5) : null;
      const diverged = value === null && metric !== null && row[`${metric}.nonfinite`] > 0;
      const text = diverged ? "NaN" : value === null ? "" : typeof value === "number" ? figure(value) : String(value);
      const cell = make(number === 0 ? "th" : "td", text, { title: text });
      if (typeof value === "number" || diverged) cell.className = diverged ? "number bad" : "number";
      if (name === "status") cell.className = data.runs.find((run) => run.run === row.run)?.mood ?? "";
      line.append(cell);
    });
    body.append(line);
  }
  const top = make("thead");
  top.append(head);
  $("table").replaceChildren(top, body);
}

/** Fills a table with a row a key and a column a run. */
function sideBySide(table, part, withSame) {
  const runs = data.runs.filter((_, number) => shown.has(number));
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run[part])))];
  const top = make("thead"), head = make("tr"), body = make("tbody");
  head.append(make("th", "", { scope: "col" }), ...runs.map((run) => make("th", run.run, { scope: "col", title: run.run })));
  top.append(head);
  const text = (value) => value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);
  for (const key of keys) {
    const values = runs.map((run) => text(run[part][key]));
    const differs = values.some((value) => value !== values[0]);
    if (!differs && !withSame) continue;
    const row = make("tr");
    row.append(make("th", key, { scope: "row" }));
    for (const value of values) row.append(make("td", value, { title: value, ...(differs ? { class: "differs" } : {}) }));
    body.append(row);
  }
  if (body.children.length === 0) {
    const row = make("tr");
    row.append(make("td", keys.length > 0 ? "no difference" : "no data"));
    body.append(row);
  }
  table.replaceChildren(top, body);
}

function fillSettings() {
  sideBySide($("settings"), "settings", $("same").checked);
  sideBySide($("provenance"), "provenance", true);
}

function setDark(on) {
  document.documentElement.classList.toggle("dark", on);
  $("dark").ariaPressed = String(on);
  listRuns();
  redraw();
}

function start() {
  const count = data.runs.length;
  document.title = count === 1 ? data.runs[0].run : `${count} runs`;
  $("about").textContent = `${count} ${count === 1 ? "run" : "runs"}, ${metrics.length} metrics; ${data.created}`;
  for (const metric of metrics) {
    const chart = new Chart(metric);
    charts.push(chart);
    $("charts").append(chart.element);
  }
  $("logx").checked = chosen.logx;
  $("logy").checked = chosen.logy;
  for (const id of ["logx", "logy", "trim"]) $(id).addEventListener("change", (event) => { chosen[id] = event.target.checked; redraw(); });
  $("filter").addEventListener("input", (event) => { chosen.filter = event.target.value; redraw(); });
  $("reset").addEventListener("click", () => zoom(null));
  const set = (numbers) => { shown.clear(); for (const number of numbers) shown.add(number); listRuns(); redraw(); fillSettings(); };
  $("all").addEventListener("click", () => set(data.runs.keys()));
  $("none").addEventListener("click", () => set([]));
  $("wide").addEventListener("change", fillTable);
  $("same").addEventListener("change", fillSettings);
  $("dark").addEventListener("click", () => setDark($("dark").ariaPressed !== "true"));
  window.addEventListener("resize", redraw);
  setDark(window.matchMedia("(prefers-color-scheme: dark)").matches);
  fillTable();
  fillSettings();
}

start();
