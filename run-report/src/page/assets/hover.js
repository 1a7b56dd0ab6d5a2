// The pointer over a chart: the values near it, the line that is nearest, and a stretch to zoom into.

const hover = { number: null }; // the run or group under the pointer

/** Emphasizes a run or group in all charts; null for none. */
function pointAt(number) {
  if (hover.number === number) return;
  hover.number = number;
  for (const item of document.querySelectorAll("#runs li")) item.classList.toggle("hover", item.dataset.number === String(number));
  for (const chart of charts) {
    if (number === null) chart.clearOver(); else chart.emphasize(number);
  }
}

/** Returns the point of a line that is nearest to a place; what is unknown of a group is no point. */
function nearest(one, place) {
  let best = -1, least = Infinity;
  for (let i = 0; i < one.x.length; i++) {
    const away = one.x[i] === null || (one.isGroup && one.y[i] === null) ? Infinity : Math.abs(one.x[i] - place);
    if (away < least) { least = away; best = i; }
  }
  return best;
}

function watchPointer(chart) {
  const { area } = chart;
  let drag = null;
  const at = (event) => {
    const box = area.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - box.left, chart.box.left), chart.box.right);
  };
  area.addEventListener("pointerdown", (event) => {
    if (!chart.scale || event.button !== 0 || event.pointerType === "touch") return;
    area.setPointerCapture(event.pointerId);
    drag = at(event);
  });
  area.addEventListener("pointerup", (event) => {
    if (drag === null || !chart.scale) return;
    const ends = [drag, at(event)].sort((a, b) => a - b);
    drag = null;
    if (ends[1] - ends[0] > 5) zoom(ends.map((pixel) => chart.scale.x.back(pixel)));
  });
  area.addEventListener("pointermove", (event) => { if (chart.scale) readOut(chart, event, at(event), drag); });
  area.addEventListener("pointerleave", () => { showTip({}, []); chart.clearOver(); pointAt(null); });
  area.addEventListener("dblclick", () => zoom(null));
}

/** Shows the values under the pointer. */
function readOut(chart, event, pixel, drag) {
  const place = chart.scale.x.back(pixel), height = event.clientY - chart.area.getBoundingClientRect().top;
  const points = chart.lines().map((one) => ({ one, i: nearest(one, place) })).filter(({ i }) => i >= 0);
  for (const point of points) {
    point.value = point.one.y[point.i];
    const away = Math.abs(chart.scale.y.there(point.value ?? Infinity) - height);
    point.aside = Math.abs(chart.scale.x.there(point.one.x[point.i]) - pixel);
    point.away = Number.isFinite(away) ? away : 0;
  }
  points.sort((a, b) => (a.away + a.aside) - (b.away + b.aside));
  const first = points[0];
  pointAt(first ? first.one.number : null);
  chart.emphasize(first ? first.one.number : null, pixel);
  const pen = chart.over.getContext("2d");
  if (drag !== null) {
    const { top, bottom } = chart.box;
    pen.globalAlpha = 0.15;
    pen.fillStyle = style("--fore");
    pen.fillRect(Math.min(pixel, drag), top, Math.abs(pixel - drag), bottom - top);
    pen.globalAlpha = 1;
  }
  const most = window.innerWidth < 700 ? 5 : 12;
  // The values nearest to the pointer, from top to bottom; what is not finite is at the top.
  const near = points.slice(0, most).sort((a, b) => (b.value ?? Infinity) - (a.value ?? Infinity) || 0);
  for (const { one, i, value } of near) {
    if (value === null) continue;
    pen.fillStyle = one.pen.colour;
    pen.beginPath();
    pen.arc(chart.scale.x.there(one.x[i]), chart.scale.y.there(value), one === first.one ? 4 : 2.5, 0, 2 * Math.PI);
    pen.fill();
  }
  const entries = near.map(({ one, i, value }) => {
    const entry = make("div", "", one === first.one ? { class: "first" } : {}), parts = [value === null ? "NaN" : chart.text(value)];
    if (one.isGroup && one.spread[i] !== null) parts.push(`± ${figure(one.spread[i])}`);
    else if (one.isGroup) parts.push("of one run");
    else if (one.low[i] !== one.high[i]) parts.push(`(${figure(one.low[i])} to ${figure(one.high[i])})`);
    else if (chosen.smooth > 0 && one.raw[i] !== null) parts.push(`(${figure(one.raw[i])})`);
    entry.append(swatch(one.pen), fitted(one.name), make("span", parts.join(" "), { class: "value" }), make("small", chart.placeText(one.x[i])));
    return entry;
  });
  if (points.length > near.length) entries.push(make("div", `… and ${points.length - near.length} more`));
  showTip(event, entries);
}

function zoom(range) {
  chosen.zoom = range;
  $("reset").hidden = range === null;
  redraw();
}

/** Makes a short piece of a line as the charts draw it. */
function swatch({ colour, dashes }) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg"), stroke = document.createElementNS(space, "line");
  for (const [key, value] of Object.entries({ width: 18, height: 8, class: "swatch", "aria-hidden": "true" })) picture.setAttribute(key, value);
  const attributes = { x1: 1, x2: 17, y1: 4, y2: 4, stroke: colour, "stroke-width": 3, "stroke-dasharray": dashes.join(" ") };
  for (const [key, value] of Object.entries(attributes)) stroke.setAttribute(key, value);
  picture.append(stroke);
  return picture;
}
