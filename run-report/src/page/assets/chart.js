// Charts: a metric of all shown runs, or a resource that they used.

const OUTLIERS = 0.01; // share of the values to leave out at either end, on demand
const SPIKE = 4; // a point whose range is this many times as high as usual gets a line, however thin its band
const BANDS = 8; // most lines that have a band of their range
const DOTTED = 24; // most points of a line whose points have dots

const charts = [];

/** Draws charts that are near the part of the page that is seen. */
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const chart = charts.find((one) => one.element === target);
    if (!chart) continue;
    chart.isNear = isIntersecting;
    if (isIntersecting) chart.draw();
  }
}, { rootMargin: "800px" });

class Chart {
  constructor(metric) {
    this.metric = metric;
    this.isNear = false;
    this.stamp = -1;
    this.element = make("figure");
    this.title = make("b");
    this.title.append(fitted(metric.name));
    this.note = make("small");
    this.wide = make("button", "⤢", { type: "button", title: "larger", "aria-label": `show ${metric.name} larger`, class: "icon" });
    this.wide.addEventListener("click", () => { this.element.classList.toggle("wide"); this.stamp = -1; this.draw(); });
    const caption = make("figcaption"), row = make("div");
    row.append(this.title, this.wide);
    caption.append(row, this.note);
    this.area = make("div", "", { class: "area" });
    this.canvas = make("canvas", "", { role: "img", "aria-label": `curves of ${metric.name}` });
    this.over = make("canvas", "", { class: "over", "aria-hidden": "true" });
    this.area.append(this.canvas, this.over);
    this.element.append(caption, this.area);
    watchPointer(this);
  }

  /** Returns the lines to draw, made anew when something was chosen. */
  lines() {
    if (this.stamp !== stamp) {
      this.made = linesOf(this.metric.curves, this.metric.kind);
      this.stamp = stamp;
    }
    return this.made;
  }

  /** Finds the range of what is shown. */
  range() {
    const x = [Infinity, -Infinity], y = [Infinity, -Infinity], values = [];
    const { logx, logy, trim } = chosen, zoom = this.metric.kind === "resource" && chosen.way !== "time" && chosen.way !== "relative" ? null : chosen.zoom;
    const usable = (value, log) => value !== null && value !== undefined && !(log && value <= 0);
    for (const one of this.lines()) {
      for (let i = 0; i < one.x.length; i++) {
        const place = one.x[i];
        if (!usable(place, logx) || (zoom && (place < zoom[0] || place > zoom[1]))) continue;
        if (place < x[0]) x[0] = place;
        if (place > x[1]) x[1] = place;
        for (const value of [one.low[i], one.high[i]]) {
          if (!usable(value, logy)) continue;
          if (value < y[0]) y[0] = value;
          if (value > y[1]) y[1] = value;
          if (trim) values.push(value);
        }
      }
    }
    for (const end of this.lines().flatMap((one) => one.ends ?? [])) {
      if (x[0] > x[1] || !usable(end, logx)) continue;
      [x[0], x[1]] = [Math.min(x[0], end), Math.max(x[1], end)];
    }
    if (values.length > 0) {
      values.sort((a, b) => a - b);
      const cut = Math.floor(values.length * OUTLIERS);
      [y[0], y[1]] = [values[cut], values[values.length - 1 - cut]];
    }
    if (this.metric.kind === "resource" && !logy && y[0] <= y[1]) y[0] = Math.min(0, y[0]); // a share of what there is
    if (this.metric.kind === "resource" && !logy && y[0] === 0 && y[1] === 0) y[1] = 1; // nothing was used
    if (zoom) { x[0] = logx ? Math.max(zoom[0], Number.MIN_VALUE) : zoom[0]; x[1] = zoom[1]; }
    return x[0] <= x[1] && y[0] <= y[1] ? { x, y } : null;
  }

  /** Returns the best value of the lines, where it is known which is better. */
  best() {
    if (this.metric.more === null) return null;
    const isBetter = (a, b) => this.metric.more ? a > b : a < b;
    let best = null;
    for (const one of this.lines()) {
      const values = one.isGroup ? one.raw : this.metric.more ? one.high : one.low;
      values.forEach((value, i) => {
        if (value !== null && one.x[i] !== null && (best === null || isBetter(value, best.value))) best = { value, line: one, at: i };
      });
    }
    return best;
  }

  text(value) {
    if (this.metric.unit === "bytes") return bytes(value);
    return this.metric.unit ? `${figure(value)} ${this.metric.unit}` : figure(value);
  }

  placeText(place) {
    const way = wayOf(this.metric.kind);
    if (way === "time") return localTime(place, true);
    if (way === "relative") return `${duration(place)} after the start`;
    return `${WAYS[way].name} ${way === "step" ? Math.abs(place) > 100 ? Math.round(place) : figure(place) : figure(place)}`;
  }

  draw() {
    if (!this.isNear || this.element.hidden) return;
    const { pen, width, height } = penOf(this.canvas);
    if (width === 0) return;
    const range = this.range(), dim = style("--dim"), grid = style("--grid");
    this.scale = null;
    this.clearOver();
    this.say();
    pen.fillStyle = dim;
    if (!range) {
      const way = WAYS[wayOf(this.metric.kind)].name;
      const why = shown.size === 0 ? "no run is selected" : this.lines().length === 0 ? `these rows tell no ${way}` : "nothing to draw here";
      pen.textAlign = "center";
      pen.fillText(why, width / 2, height / 2);
      return;
    }
    const way = WAYS[wayOf(this.metric.kind)];
    const area = { left: 0, top: 10, right: width - 14, bottom: height - 34 };
    const tall = Math.max(2, Math.floor((area.bottom - area.top) / 32));
    const y = new Axis(range.y, { log: chosen.logy, nice: true, count: tall, kind: this.metric.unit === "bytes" ? "bytes" : "number" }).between(area.bottom, area.top);
    const labels = y.ticks.map((tick) => y.label(tick));
    area.left = Math.ceil(Math.max(24, ...labels.map((label) => pen.measureText(label).width))) + 10;
    const broad = Math.max(2, Math.floor((area.right - area.left) / (way.kind === "number" ? 64 : 84)));
    const x = new Axis(range.x, { log: chosen.logx && way.kind === "number", kind: way.kind, count: broad }).between(area.left, area.right);
    this.box = area;
    this.scale = { x, y };
    pen.strokeStyle = grid;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    y.ticks.forEach((tick, i) => {
      const at = Math.round(y.there(tick)) + 0.5;
      pen.fillText(labels[i], area.left - 8, at);
      line(pen, area.left, at, area.right, at);
    });
    pen.textBaseline = "top";
    let until = -Infinity;
    for (const tick of x.ticks) {
      const at = Math.round(x.there(tick)) + 0.5, label = x.label(tick), half = pen.measureText(label).width / 2;
      pen.strokeStyle = dim;
      line(pen, at, area.bottom, at, area.bottom + 4);
      const middle = Math.min(at, width - half - 1);
      if (middle - half < until + 6) continue; // no label over another
      pen.textAlign = "center";
      pen.fillText(label, middle, area.bottom + 7);
      until = middle + half;
    }
    pen.textAlign = "right";
    pen.fillText(`${way.name}${chosen.logx && way.kind === "number" ? " (log)" : ""} →`, area.right, area.bottom + 20);
    pen.textAlign = "left";
    const unit = this.metric.unit && this.metric.unit !== "bytes" ? this.metric.unit : "";
    if (unit || chosen.logy) pen.fillText(`↑ ${[unit, chosen.logy ? "log" : ""].filter(Boolean).join(", ")}`, 0, area.bottom + 20);
    pen.strokeStyle = dim;
    line(pen, area.left, Math.round(area.bottom) + 0.5, area.right, Math.round(area.bottom) + 0.5);
    this.within(pen, () => {
      const lines = this.lines();
      for (const one of lines) this.trace(pen, one, lines.length);
      this.ring(pen);
    });
    if (hover.number !== null) this.emphasize(hover.number);
  }

  /** Writes under the title what is best, and what a point stands for. */
  say() {
    const best = this.best(), words = [];
    if (best && this.lines().length > 0) {
      const name = this.lines().length > 1 ? ` · ${best.line.name}` : "";
      words.push(`${this.metric.more ? "max" : "min"} ${this.text(best.value)}${name} · ${this.placeText(best.line.x[best.at])}`);
    }
    const each = Math.max(...this.metric.curves.filter((curve) => shown.has(curve.number)).map((curve) => curve.rows_each), 1);
    const about = chosen.group ? "mean ± sample standard deviation of the runs" : each > 1 ? `mean, min and max of up to ${each} rows` : "";
    if (about && words.length === 0) words.push(about);
    this.note.textContent = words.join("; ");
    this.note.title = [words[0], about !== words[0] ? about : ""].filter(Boolean).join("\n");
  }

  within(pen, draw) {
    const { left, top, right, bottom } = this.box;
    pen.save();
    pen.beginPath();
    pen.rect(left - 1, top - 4, right - left + 5, bottom - top + 5);
    pen.clip();
    draw();
    pen.restore();
  }

  /** Draws a line with the band of its range, its single points, and a cross where values were not finite. */
  trace(pen, one, count, strong = false) {
    const { x, y } = this.scale, { colour, dashes } = one.pen;
    pen.strokeStyle = pen.fillStyle = colour;
    const usable = (value, log) => value !== null && value !== undefined && !(log && value <= 0);
    const pixelX = one.x.map((place) => usable(place, chosen.logx) ? x.there(place) : null);
    const pixelY = (value) => usable(value, chosen.logy) ? y.there(value) : null;
    const isSmooth = !one.isGroup && chosen.smooth > 0;
    const hasBand = one.low !== one.high && (count <= BANDS || strong);
    if (hasBand) this.band(pen, one, pixelX, pixelY, one.isGroup ? 0.18 : isSmooth ? 0.1 : 0.16);
    pen.lineJoin = "round";
    if (isSmooth && count <= BANDS) {
      pen.globalAlpha = 0.28;
      pen.lineWidth = 1;
      this.path(pen, pixelX, one.raw.map(pixelY));
    }
    pen.globalAlpha = strong || count <= 12 ? 1 : 0.8;
    const isDense = one.x.length > this.box.right - this.box.left; // a thin line shows more of noise
    pen.lineWidth = (strong ? 2.5 : count <= 12 ? 1.75 : 1.25) * (isDense && !isSmooth ? 0.6 : 1);
    pen.setLineDash(dashes);
    const pixels = one.y.map(pixelY);
    const single = this.path(pen, pixelX, pixels);
    pen.setLineDash([]);
    const isDotted = one.x.length <= DOTTED && (count <= 12 || strong);
    for (let i = 0; i < pixels.length; i++) {
      if (pixels[i] === null || pixelX[i] === null || !(isDotted || single.has(i))) continue;
      pen.beginPath();
      pen.arc(pixelX[i], pixels[i], single.has(i) ? 3.5 : 2.25, 0, 2 * Math.PI);
      pen.fill();
    }
    if (one.low !== one.high && !one.isGroup) this.spikes(pen, one, pixelX, pixelY);
    pen.globalAlpha = 1;
    for (const place of one.nonfinite) {
      if (!usable(place, chosen.logx)) continue;
      const at = x.there(place), top = this.box.top - 2;
      line(pen, at - 3, top, at + 3, top + 6);
      line(pen, at - 3, top + 6, at + 3, top);
    }
  }

  /** Strokes a path with gaps where there are no values; returns the points without neighbours. */
  path(pen, xs, ys) {
    const single = new Set();
    let length = 0;
    pen.beginPath();
    for (let i = 0; i <= xs.length; i++) {
      if (i === xs.length || xs[i] === null || ys[i] === null) {
        if (length === 1) single.add(i - 1);
        length = 0;
        continue;
      }
      if (length === 0) pen.moveTo(xs[i], ys[i]); else pen.lineTo(xs[i], ys[i]);
      length += 1;
    }
    pen.stroke();
    return single;
  }

  band(pen, one, xs, pixelY, alpha) {
    pen.globalAlpha = alpha;
    let part = [];
    const fill = () => {
      pen.beginPath();
      for (const [at, , high] of part) pen.lineTo(at, high);
      for (const [at, low] of part.slice().reverse()) pen.lineTo(at, low);
      pen.fill();
      part = [];
    };
    for (let i = 0; i < xs.length; i++) {
      const high = pixelY(one.high[i]);
      if (xs[i] === null || high === null) { fill(); continue; }
      part.push([xs[i], pixelY(one.low[i]) ?? this.box.bottom, high]);
    }
    fill();
    pen.globalAlpha = 1;
  }

  /** Draws a line at each point whose range is much higher than usual: one row among many is not lost. */
  spikes(pen, one, xs, pixelY) {
    one.usual ??= one.low.map((low, i) => low === null ? 0 : one.high[i] - low).sort((a, b) => a - b)[one.low.length >> 1] ?? 0;
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
    for (let i = 0; i < xs.length; i++) {
      if (xs[i] === null || one.low[i] === null || one.high[i] - one.low[i] <= SPIKE * one.usual) continue;
      const high = pixelY(one.high[i]);
      if (high !== null) line(pen, xs[i], pixelY(one.low[i]) ?? this.box.bottom, xs[i], high);
    }
  }

  /** Marks the best value with a ring. */
  ring(pen) {
    const best = this.best();
    if (!best) return;
    const at = [this.scale.x.there(best.line.x[best.at]), this.scale.y.there(best.value)];
    if (!at.every(Number.isFinite)) return;
    pen.lineWidth = 2;
    pen.strokeStyle = best.line.pen.colour;
    pen.fillStyle = style("--back");
    pen.beginPath();
    pen.arc(...at, 4, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }

  clearOver() { penOf(this.over); }

  /** Draws one line over the others, which fade. */
  emphasize(number, at = null) {
    if (!this.scale || !this.isNear) return;
    const { pen } = penOf(this.over), { left, top, right, bottom } = this.box;
    const one = this.lines().find((one) => one.number === number);
    if (one && this.lines().length > 1) {
      pen.globalAlpha = 0.65;
      pen.fillStyle = style("--back");
      pen.fillRect(left, top - 4, right - left + 3, bottom - top + 4);
      pen.globalAlpha = 1;
      this.within(pen, () => this.trace(pen, one, this.lines().length, true));
    }
    if (at !== null) {
      pen.strokeStyle = style("--dim");
      pen.lineWidth = 1;
      line(pen, at, top, at, bottom);
    }
  }
}

let waiting = false;
/** Draws all charts, once however often it is asked for before the next frame. */
function redraw() {
  stamp += 1;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    remember();
    const wanted = chosen.filter.toLowerCase();
    for (const chart of charts) {
      chart.element.hidden = !chart.metric.name.toLowerCase().includes(wanted);
      chart.draw();
    }
  });
}
