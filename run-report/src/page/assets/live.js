// A live page: its server tells which runs have changed, and is asked for the details of those that are shown.

const EACH = 2000; // milliseconds between questions for the details of a run
const AT_ONCE = 4; // questions at once
const PATIENCE = 3000; // milliseconds after which a question that waits gets the connection of the stream
const TURN = 15000; // milliseconds after which a stream restarts: tabs that wait for a connection come first

const live = { asking: new Set(), keys: "", later: null, since: data.live?.clock, stream: null, turn: null };

/** Returns the address of something on the server. */
function addressOf(path) {
  const token = new URLSearchParams(location.search).get("token");
  return token === null ? path : `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}`;
}

function startLive() {
  if (!data.live) return;
  $("link").hidden = false;
  document.addEventListener("visibilitychange", () => { beginStream(); ask(); });
  beginStream();
  ask();
}

function sayLink(text) {
  $("link").textContent = text;
  $("link").classList.toggle("on", text.startsWith("●"));
}

/** Ends the stream of what changes. */
function endStream() {
  clearTimeout(live.turn);
  live.stream?.close();
  live.stream = null;
}

/** Begins a stream of what changes, if the page is seen. A browser has six connections to a server for all its tabs. */
function beginStream() {
  endStream();
  if (document.hidden) { sayLink("○ paused"); return; }
  const stream = new EventSource(addressOf(`events?server=${data.live.server}&since=${live.since}`));
  live.stream = stream;
  live.turn = setTimeout(() => sayLink("○ waiting"), PATIENCE);
  const listen = (kind, act) => stream.addEventListener(kind, (event) => { if (live.stream === stream) act(event); });
  listen("open", () => { sayLink("● live"); clearTimeout(live.turn); live.turn = setTimeout(beginStream, TURN); });
  listen("error", () => sayLink("○ no connection"));
  listen("other", () => location.reload()); // another server has taken its place
  listen("runs", (event) => {
    live.since = event.lastEventId || live.since;
    takeRuns(JSON.parse(event.data));
  });
}

/** Gives the connection of the stream to a question that waits for one. */
function giveWay() {
  if (live.stream === null) return;
  endStream();
  sayLink("○ waiting");
}

/** Takes what is new of runs: some have changed, some have come, some have gone. */
function takeRuns({ changed: told = [], gone: left = [] }) {
  const byId = new Map(data.runs.map((run) => [run.id, run]));
  const changed = told.filter((light) => !(byId.get(light.id)?.version >= light.version)), gone = left.filter((id) => byId.has(id) && !byId.get(id).gone);
  if (changed.length === 0 && gone.length === 0) return;
  for (const light of changed) {
    const run = byId.get(light.id);
    if (run) { Object.assign(run, light); continue; }
    data.runs.push(prepare(light));
    if (light.active) for (const numbers of [shown, initial.shown]) numbers.add(data.runs.length - 1);
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
  if (!data.live || document.hidden) return;
  clearTimeout(live.later);
  let soonest = Infinity;
  for (const number of shown) {
    const run = data.runs[number], wait = (run.asked ?? 0) + EACH - Date.now();
    if (run.known === run.version || run.gone || live.asking.has(run.id)) continue;
    if (live.asking.size >= AT_ONCE) break;
    if (wait > 0) { soonest = Math.min(soonest, wait); continue; }
    run.asked = Date.now();
    live.asking.add(run.id);
    const late = setTimeout(giveWay, PATIENCE);
    fetch(addressOf(`run?id=${run.id}`)).then((answer) => answer.ok ? answer.json() : null).then((found) => {
      if (found) takeDetails(run, found);
    }).catch(() => {}).finally(() => {
      clearTimeout(late);
      live.asking.delete(run.id);
      if (live.asking.size === 0 && live.stream === null) beginStream();
      ask();
    });
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
