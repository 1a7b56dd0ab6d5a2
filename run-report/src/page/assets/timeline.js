// What the runs did when, a strip each; what their time and money went to; and how their logs end.

const timeline = { isLocal: false };

/** Lays the strips of all runs along one axis: local time, or the time since the start of each. */
function fillTimeline() {
  const runs = data.runs.filter((run, number) => run.timeline.length > 0 && !run.gone && (!data.live || shown.has(number)));
  $("attempts").hidden = runs.length === 0;
  if (runs.length === 0) return;
  $("kinds").replaceChildren(...data.kinds.filter((kind) => runs.some((run) => run.timeline.some(([one]) => one === kind))).map((kind) => {
    const key = make("span", kind), mark = make("i", "", { class: `kind ${kind}` });
    key.prepend(mark);
    return key;
  }));
  const from = (run) => timeline.isLocal ? 0 : run.timeline[0][1];
  const low = timeline.isLocal ? Math.min(...runs.map((run) => run.timeline[0][1])) : 0;
  const high = Math.max(...runs.map((run) => run.timeline[run.timeline.length - 1][2] - from(run)));
  const range = [low, Math.max(high, low + 0.001)];
  $("strips").replaceChildren(...runs.map((run) => strip(run, from(run), range)), stripAxis(range));
}

function strip(run, from, [low, high]) {
  const row = make("div", "", { class: "strip" }), canvas = make("canvas", "", { role: "img", "aria-label": `timeline of ${run.run}` });
  row.append(fitted(shortName(run.run), run.run), canvas);
  const place = (time, width) => ((time - from - low) / (high - low)) * width;
  row.draw = () => {
    const { pen, width, height } = penOf(canvas);
    for (const [kind, start, end] of run.timeline) {
      const left = place(start, width), wide = Math.max(place(end, width) - left, kind === "lost" || kind === "stalled" ? 2 : 0.75);
      pen.fillStyle = style(`--${kind}`);
      if (kind === "idle") pen.fillRect(left, height / 2 - 1, wide, 2);
      else pen.fillRect(left, 1, wide, height - 2);
    }
    pen.fillStyle = style("--fore");
    let attempt = null;
    for (const [, start, , number] of run.timeline) { // where a further attempt began
      if (number !== null && number !== attempt && attempt !== null) pen.fillRect(Math.round(place(start, width)), 0, 1, height);
      attempt = number ?? attempt;
    }
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect(), time = low + from + ((event.clientX - box.left) / box.width) * (high - low);
    const span = run.timeline.find(([, start, end]) => time >= start && time < end);
    if (!span) { showTip(event, []); return; }
    const [kind, start, end, attempt] = span, entry = make("div"), words = attempt === null ? kind : `${kind}, attempt ${attempt}`;
    entry.append(make("i", "", { class: `kind ${kind}` }), make("b", words));
    showTip(event, [make("div", run.run), entry, make("div", `${duration(end - start)}, from ${localTime(start, true)} to ${localTime(end, true)}`)]);
  });
  canvas.addEventListener("pointerleave", () => showTip({}, []));
  return row;
}

function stripAxis(range) {
  const row = make("div", "", { class: "strip axis" }), canvas = make("canvas", "", { "aria-hidden": "true" });
  row.append(make("span", timeline.isLocal ? "local time" : "time since start"), canvas);
  row.draw = () => {
    const { pen, width } = penOf(canvas);
    const axis = new Axis(range, { kind: timeline.isLocal ? "time" : "duration", count: Math.max(2, Math.floor(width / 90)) }).between(0, width);
    pen.fillStyle = pen.strokeStyle = style("--dim");
    pen.textBaseline = "top";
    let until = -Infinity;
    for (const tick of axis.ticks) {
      const at = axis.there(tick), label = axis.label(tick), half = pen.measureText(label).width / 2;
      if (at < -1 || at > width + 1) continue;
      line(pen, Math.round(at) + 0.5, 0, Math.round(at) + 0.5, 4);
      const middle = Math.min(Math.max(at, half), width - half);
      if (middle - half < until + 6) continue; // no label over another
      pen.textAlign = "center";
      pen.fillText(label, middle, 6);
      until = middle + half;
    }
  };
  return row;
}

function drawTimeline() {
  for (const row of $("strips").children) row.draw();
}

/** Fills the receipt: time and money by kind, whose parts add up. */
function fillReceipt() {
  const all = data.live ? liveReceipts() : data.receipts;
  $("receipt").replaceChildren();
  if (all.length === 0) return;
  const sum = data.live ? sumOf(all) : data.sum, kinds = data.kinds.filter((kind) => sum.s[kind] > 0), hasMoney = sum.usd !== null && sum.usd > 0, hasLost = hasMoney && sum.lost_usd > 0;
  const heads = ["run", "wall", ...kinds, ...(hasMoney ? ["usd"] : []), ...(hasLost ? ["lost usd"] : []), "trained"];
  const top = make("thead"), head = make("tr"), body = make("tbody");
  head.append(...heads.map((name, i) => make("th", name, { scope: "col", class: i > 0 ? "number" : "" })));
  top.append(head);
  const row = (name, receipt, isSum) => {
    const element = make("tr", "", isSum ? { class: "sum" } : {});
    const cell = (text, title = "") => make("td", text, { class: "number", title });
    element.append(make("th", shortName(name), { scope: "row", title: name }), cell(duration(receipt.wall), `${receipt.wall} s`));
    for (const kind of kinds) {
      const value = cell(receipt.s[kind] > 0 ? duration(receipt.s[kind]) : "", `${receipt.s[kind]} s`);
      if (kind === "lost" && receipt.s[kind] > 0) value.classList.add("bad");
      element.append(value);
    }
    if (hasMoney) {
      const dollars = (usd) => usd === null ? "" : usd !== 0 && usd < 0.01 ? `$${figure(usd)}` : `$${usd.toFixed(2)}`;
      element.append(cell(dollars(receipt.usd)));
      if (hasLost) element.append(cell(receipt.lost_usd ? dollars(receipt.lost_usd) : ""));
    }
    element.append(cell(receipt.trained === null ? "" : `${Math.round(receipt.trained)} %`));
    return element;
  };
  body.append(...all.map(([name, receipt]) => row(name, receipt, false)));
  if (all.length > 1) body.append(row("all", sum, true));
  $("receipt").append(top, body);
  $("trained").textContent = sum.words ?? "";
}

/** Lists how each run stands: its reason, its note, and the end of its log. */
function fillLogs() {
  const isBad = (run) => run.mood === "bad" || run.mood === "doubt";
  const all = data.live ? data.runs.filter((run, number) => shown.has(number) && run.known && !run.gone) : data.runs;
  const order = all.filter(isBad).concat(all.filter((run) => !isBad(run)));
  const few = order.filter(isBad).length <= 3;
  const open = new Set([...$("logs").children].filter((one) => one.open).map((one) => one.dataset.path));
  $("logs").replaceChildren(...order.map((run) => {
    const details = make("details"), summary = make("summary");
    summary.append(fitted(shortName(run.run), run.run), make("b", run.status, { class: run.mood }));
    if (run.reason) summary.append(make("span", run.reason, { class: "reason", title: run.reason }));
    details.append(summary);
    const facts = make("p", "", { class: "facts" });
    const words = [run.start !== null && `started ${localTime(run.start)}`, run.duration_s !== null && `took ${duration(run.duration_s)}`, run.attempts > 1 && `${run.attempts} attempts`];
    facts.textContent = words.filter(Boolean).join(" · ");
    details.append(facts);
    if (run.reason) details.append(make("p", run.reason, { class: run.mood }));
    if (run.tags.length > 0) details.append(make("p", `tags: ${run.tags.join(", ")}`));
    if (run.note) details.append(make("p", run.note, { class: "note" }));
    details.append(run.log.length > 0 ? make("pre", run.log.join("\n")) : make("p", "no log", { class: "facts" }));
    details.dataset.path = run.path;
    details.open = (isBad(run) && few) || data.runs.length === 1 || open.has(run.path);
    return details;
  }));
}
