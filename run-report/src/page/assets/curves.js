// What is chosen on the page, and the lines that follow from it: a curve of each run, or the mean of each group.

/** The ways to lay curves out along the horizontal axis. */
const WAYS = {
  step: { name: data.x ?? "step", kind: "number" },
  epoch: { name: "epoch", kind: "number" },
  relative: { name: "time since start", kind: "duration" },
  time: { name: "local time", kind: "time" },
};

const chosen = {
  way: data.way, logx: data.log_x, logy: data.log, smooth: data.smooth ?? 0, zoom: null, trim: false, filter: "", group: "",
};
const SHOWN = 12; // most runs that a live page shows at first
const shown = new Set(data.live ? firstRuns() : data.runs.keys());

/** Returns the runs that a live page shows at first: active ones, then the latest. */
function firstRuns() {
  const numbers = [...data.runs.keys()], rank = (number) => [data.runs[number].active ? 1 : 0, data.runs[number].start ?? 0];
  const later = (one, other) => rank(other)[0] - rank(one)[0] || rank(other)[1] - rank(one)[1];
  return numbers.sort(later).slice(0, SHOWN);
}
let stamp = 0; // grows with each change of what the lines depend on

/** Returns the colour and the dashes of a run or group. */
function penFor(number) {
  const hues = data.palette.length;
  return { colour: data.palette[number % hues], dashes: data.dashes[Math.floor(number / hues) % data.dashes.length] };
}

const settingText = (value) => value === undefined || value === null ? "" : typeof value === "string" ? value : JSON.stringify(value);

/** Returns the settings in which runs differ. */
function varyingSettings() {
  const keys = [...new Set(data.runs.flatMap((run) => Object.keys(run.settings)))];
  return keys.filter((key) => new Set(data.runs.map((run) => settingText(run.settings[key]))).size > 1);
}

let grouping = { of: null, groups: [] };
/** Returns the groups of runs by the chosen setting, each with its number and its runs. */
function groups() {
  if (grouping.of === chosen.group) return grouping.groups;
  const found = new Map();
  data.runs.forEach((run, number) => {
    if (run.gone) return;
    const value = settingText(run.settings[chosen.group]) || "(none)";
    if (!found.has(value)) found.set(value, { name: `${chosen.group}=${value}`, runs: [] });
    found.get(value).runs.push(number);
  });
  grouping = { of: chosen.group, groups: [...found.values()] };
  return grouping.groups;
}

/** Returns the pen of a run: that of its group, if there are groups. */
function penOfRun(number) {
  return penFor(chosen.group ? groups().findIndex((group) => group.runs.includes(number)) : number);
}

/** Returns how a kind of chart lies along the horizontal axis: resources have no steps. */
const wayOf = (kind) => kind === "resource" && chosen.way !== "time" ? "relative" : chosen.way;

/** Returns where the points of a curve are; null if its rows do not tell. */
function places(curve, way) {
  curve.places ??= {};
  if (curve.places[way] === undefined) {
    const axis = curve.run.axes[curve.axis];
    const known = {
      step: () => axis.step && (axis.to ? axis.step.map((from, i) => (from + axis.to[i]) / 2) : axis.step),
      epoch: () => axis.epoch,
      relative: () => axis.t,
      time: () => axis.t && curve.run.start !== null ? axis.t.map((seconds) => seconds === null ? null : seconds + curve.run.start) : null,
    };
    curve.places[way] = known[way]();
  }
  return curve.places[way];
}

/** Returns the running mean of values, in which all earlier points have this weight; without bias at the beginning. */
function smoothed(values, weight) {
  if (weight === 0) return values;
  let sum = 0, total = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    total = total * weight + (1 - weight);
    return sum / total;
  });
}

/** Returns the line of a curve: x, y, the values before smoothing, and the range at each point. */
function lineOf(curve, way) {
  const x = places(curve, way);
  if (!x) return null;
  const raw = curve.mean ?? curve.min, axis = curve.run.axes[curve.axis], isKnown = (step) => step !== null;
  // A point of many rows is in their middle; the axis is as long as the rows are.
  const ends = way === "step" && axis.to ? [axis.step.find(isKnown), axis.to.findLast(isKnown)] : [];
  return {
    name: shortName(curve.run.run), number: curve.number, pen: penOfRun(curve.number), curve, x, raw, y: smoothed(raw, chosen.smooth),
    low: curve.min, high: curve.max ?? curve.min, nonfinite: curve.nonfinite.map((place) => x[place]), ends, isGroup: false,
  };
}

const GRID = 300; // most points of a mean of several curves

/** Returns the mean and the sample standard deviation of values, which is unknown, thus null, of a single one. */
function spreadOf(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
  return { mean, spread: values.length > 1 ? spread : null };
}

/** Returns the mean of several lines, also before smoothing, and the standard deviation around it as its range. */
function meanOf(lines, name, number) {
  const points = lines.map((one) => one.x.flatMap((x, i) => x === null || one.y[i] === null ? [] : [[x, one.y[i]]])).filter((one) => one.length > 0);
  if (points.length > 0 && points.every((one) => one.length === 1)) { // such as the final test of each run
    const { mean: x } = spreadOf(points.map(([[x]]) => x)), { mean, spread } = spreadOf(points.map(([[, y]]) => y));
    const single = { x: [x], raw: [mean], y: [mean], low: [mean - spread], high: [mean + spread], spread: [spread] };
    return { ...single, name, number, pen: penFor(number), curve: null, nonfinite: [], isGroup: true, count: lines.length };
  }
  const all = [...new Set(lines.flatMap((one) => one.x.filter((x, i) => x !== null && one.y[i] !== null)))].sort((a, b) => a - b);
  if (all.length === 0) return null;
  const x = all.length <= GRID ? all : Array.from({ length: GRID }, (_, i) => all[Math.round((i * (all.length - 1)) / (GRID - 1))]);
  const tracks = lines.map((one) => valuesAt(one, one.y, x)), unsmoothed = chosen.smooth > 0 ? lines.map((one) => valuesAt(one, one.raw, x)) : tracks;
  const at = (tracks, i) => tracks.map((track) => track[i]).filter((value) => value !== null);
  const y = [], low = [], high = [], raw = [], spreads = [];
  for (let i = 0; i < x.length; i++) {
    const values = at(tracks, i);
    const { mean, spread } = spreadOf(values);
    const isKnown = 2 * values.length >= lines.length; // the mean of a few of them would jump
    y.push(isKnown ? mean : null);
    raw.push(isKnown ? spreadOf(at(unsmoothed, i)).mean : null);
    spreads.push(isKnown ? spread : null);
    low.push(isKnown ? mean - spread : null);
    high.push(isKnown ? mean + spread : null);
  }
  return { name, number, pen: penFor(number), curve: null, x, raw, y, low, high, spread: spreads, nonfinite: [], isGroup: true, count: lines.length };
}

/** Returns values at the points of a line at ascending places, null outside of it. */
function valuesAt(one, values, places) {
  const points = one.x.map((x, i) => [x, values[i]]).filter(([x, y]) => x !== null && y !== null);
  let at = 0;
  return places.map((place) => {
    while (at + 1 < points.length && points[at + 1][0] <= place) at += 1;
    const [here, next] = [points[at], points[at + 1]];
    if (!here || place < here[0] || (!next && place > here[0])) return null;
    if (!next || next[0] === here[0]) return here[1];
    return here[1] + ((here[1] - next[1]) * (place - here[0])) / (here[0] - next[0]);
  });
}

/** Returns the lines of a metric for what is chosen. */
function linesOf(curves, kind) {
  const way = wayOf(kind);
  const lines = curves.filter((curve) => shown.has(curve.number)).map((curve) => lineOf(curve, way)).filter((one) => one !== null);
  if (!chosen.group) return lines;
  const means = groups().map((group, number) => {
    const of = lines.filter((one) => group.runs.includes(one.number));
    return of.length > 0 ? meanOf(of, group.name, number) : null;
  });
  return means.filter((mean) => mean !== null);
}

/** Returns the metrics of the page: name, kind, unit, whether more is better, and the curves of all runs. */
function allMetrics() {
  const found = new Map(data.metrics.map((metric) => [`${metric.kind} ${metric.name}`, { ...metric, curves: [] }]));
  data.runs.forEach((run, number) => {
    for (const curve of run.curves ?? []) {
      const metric = found.get(`${curve.kind ?? "metric"} ${curve.metric}`) ?? found.get(`book ${curve.metric}`);
      Object.assign(curve, { run, number, places: undefined });
      metric?.curves.push(curve);
    }
  });
  return [...found.values()].filter((metric) => metric.curves.length > 0);
}

/** Returns whether no curve of a metric ever changes, of those that could. */
function isConstant(metric) {
  const range = (curve) => [Math.min(...curve.min.filter((value) => value !== null)), Math.max(...(curve.max ?? curve.min).filter((value) => value !== null))];
  const long = metric.curves.filter((curve) => curve.rows > 1);
  return long.length > 0 && long.length === metric.curves.length
    && long.every((curve) => curve.nonfinite.length === 0 && range(curve)[0] === range(curve)[1]);
}
