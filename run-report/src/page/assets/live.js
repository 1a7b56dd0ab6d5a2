// A live page: its server tells which runs have changed, and is asked for the details of those that are shown.

const EACH = 2000; // milliseconds between questions for the details of a run
const AT_ONCE = 4; // questions at once

const live = { asking: new Set(), keys: "", later: null };

/** Returns the address of something on the server. */
function addressOf(path) {
  const token = new URLSearchParams(location.search).get("token");
  return token === null ? path : `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
}

function startLive() {
  if (!data.live) return;
  $("link").hidden = false;
  const say = (isOn) => { $("link").textContent = isOn ? "● live" : "○ no connection"; $("link").classList.toggle("on", isOn); };
  say(false);
  const events = new EventSource(addressOf(`events?server=${data.live.server}&since=${data.live.clock}`));
  events.addEventListener("open", () => say(true));
  events.addEventListener("error", () => say(false));
  events.addEventListener("other", () => location.reload()); // another server has taken its place
  events.addEventListener("runs", (event) => takeRuns(JSON.parse(event.data)));
  ask();
}

/** Takes what is new of runs: some have changed, some have come, some have gone. */
function takeRuns({ changed = [], gone = [] }) {
  for (const light of changed) {
    const run = data.runs.find((one) => one.id === light.id);
    if (run) { Object.assign(run, light); continue; }
    data.runs.push(prepare(light));
    if (light.active) shown.add(data.runs.length - 1);
  }
  for (const id of gone) {
    const number = data.runs.findIndex((one) => one.id === id);
    if (number >= 0) { data.runs[number].gone = true; shown.delete(number); }
  }
  const known = new Set(data.columns.map((column) => column.name));
  for (const { row } of changed) {
    for (const name of Object.keys(row)) {
      if (!known.has(name)) data.columns.push({ name, extra: !/\.(last|best)$/.test(name) });
      known.add(name);
    }
  }
  refresh();
  ask();
}

/** Asks for the details of shown runs that have changed, each from time to time. */
function ask() {
  if (!data.live) return;
  clearTimeout(live.later);
  let soonest = Infinity;
  for (const number of shown) {
    const run = data.runs[number], wait = (run.asked ?? 0) + EACH - Date.now();
    if (run.known === run.version || run.gone || live.asking.has(run.id)) continue;
    if (live.asking.size >= AT_ONCE) break;
    if (wait > 0) { soonest = Math.min(soonest, wait); continue; }
    run.asked = Date.now();
    live.asking.add(run.id);
    fetch(addressOf(`run?id=${run.id}`)).then((answer) => answer.ok ? answer.json() : null).then((found) => {
      if (found) takeDetails(run, found);
    }).catch(() => {}).finally(() => { live.asking.delete(run.id); ask(); });
  }
  if (soonest < Infinity) live.later = setTimeout(ask, soonest);
}

function takeDetails(run, { detail, run: details }) {
  for (const part of ["curves", "axes", "timeline", "log", "media", "packages", "start", "provenance"]) run[part] = details[part];
  run.receipt = detail.receipt;
  run.known = detail.version;
  const names = new Set(data.metrics.map((metric) => `${metric.kind} ${metric.name}`));
  data.metrics.push(...detail.metrics.filter((metric) => !names.has(`${metric.kind} ${metric.name}`)));
  refresh();
}

let refreshing = null;
/** Fills the page with what is new, at most once in a while however much comes. */
function refresh() {
  refreshing ??= setTimeout(() => {
    refreshing = null;
    const all = allMetrics(), keys = JSON.stringify(all.map((metric) => [metric.name, metric.kind, isConstant(metric)]));
    if (keys !== live.keys) fillCharts();
    live.keys = keys;
    for (const chart of charts) chart.metric = all.find((metric) => metric.kind === chart.metric.kind && metric.name === chart.metric.name) ?? chart.metric;
    grouping.of = null;
    fillHead(all.filter((metric) => metric.kind !== "resource").length);
    fillGroups();
    listRuns();
    redraw();
    fillTimeline();
    drawTimeline();
    fillReceipt();
    fillTable();
    fillSettings();
    fillLogs();
  }, 250);
}

const liveReceipts = () => data.runs.filter((run, number) => run.receipt && !run.gone && shown.has(number)).map((run) => [run.run, run.receipt]);

/** Adds up receipts. */
function sumOf(receipts) {
  const add = (of) => receipts.reduce((sum, [, receipt]) => sum + (of(receipt) ?? 0), 0);
  const sum = { wall: add((one) => one.wall), s: {}, usd: add((one) => one.usd), lost_usd: add((one) => one.lost_usd) };
  for (const kind of data.kinds) sum.s[kind] = add((one) => one.s[kind]);
  const spent = sum.wall - sum.s.queued - sum.s.idle, hasMoney = sum.usd > 0;
  const [part, whole] = hasMoney ? [add((one) => one.trained_usd), sum.usd] : [sum.s.training, spent];
  sum.trained = whole > 0 ? (part / whole) * 100 : null;
  sum.words = sum.trained === null ? "" : `${Math.round(sum.trained)} % of ${hasMoney ? `$${sum.usd.toFixed(2)}` : duration(spent)} trained`;
  return sum;
}
