// Axes: round ticks, limits that end on them, and labels.

const SECOND_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];

/** Returns the least of the round widths that divides a span into at most `count` parts. */
function roundWidth(span, count) {
  const rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999) ?? 10 * power;
}

/** An axis over a range of numbers: `kind` is "number", "duration", "time" or "bytes". */
class Axis {
  constructor([low, high], { log = false, nice = false, kind = "number", count = 5 } = {}) {
    if (low === high) {
      const pad = log ? 0 : Math.abs(low) * 0.05 || 1;
      [low, high] = log ? [low / 2, high * 2] : [low - pad, high + pad];
    }
    this.log = log;
    this.kind = kind;
    this.ticks = [];
    if (log) this.logTicks(low, high, nice, count);
    else this.linearTicks(low, high, nice, count);
  }

  linearTicks(low, high, nice, count) {
    let by = roundWidth(high - low, count), offset = 0;
    const isTime = this.kind === "time" || this.kind === "duration";
    if (isTime && (high - low) / count >= 1) { // the nearest of the steps that people use
      const away = (step) => Math.abs(Math.log(step / ((high - low) / count)));
      by = SECOND_STEPS.reduce((best, step) => away(step) < away(best) ? step : best);
    }
    if (this.kind === "bytes" && high > 1024) {
      const unit = 1024 ** Math.floor(Math.log2(high) / 10);
      by = roundWidth((high - low) / unit, count) * unit;
    }
    if (this.kind === "time") offset = new Date(low * 1000).getTimezoneOffset() * 60; // ticks at local hours
    if (nice) [low, high] = [Math.floor(low / by) * by, Math.ceil(high / by) * by];
    [this.low, this.high, this.by] = [low, high, by];
    for (let place = Math.ceil((low - offset) / by - 1e-9); place * by + offset <= high + by * 1e-6 && this.ticks.length < 50; place++) {
      this.ticks.push(Number((place * by + offset).toPrecision(13)));
    }
    if (this.ticks.length === 0) this.ticks.push(low);
  }

  logTicks(low, high, nice, count) {
    if (this.kind === "bytes") { this.binaryTicks(low, high, nice, count); return; }
    let first = Math.floor(Math.log10(low) + 1e-9), last = Math.ceil(Math.log10(high) - 1e-9);
    const isNarrow = last - first <= 2;
    const within = (marks) => marks.filter((mark) => mark >= low * 0.999999 && mark <= high * 1.000001);
    const marks = (of) => Array.from({ length: last - first + 1 }, (_, i) => of.map((one) => one * 10 ** (first + i))).flat();
    if (nice) {
      const all = marks(isNarrow ? [1, 2, 5] : [1]);
      low = Math.max(...all.filter((mark) => mark <= low * 1.000001), 10 ** first);
      high = Math.min(...all.filter((mark) => mark >= high * 0.999999), 10 ** last);
    }
    [this.low, this.high, this.by] = [low, high, 0];
    const step = Math.max(1, Math.ceil((last - first) / count));
    const powers = [];
    for (let power = first; power <= last; power += step) powers.push(10 ** power);
    this.ticks = within(isNarrow ? marks([1, 2, 5]) : powers).map((tick) => Number(tick.toPrecision(12)));
    if (this.ticks.length < 2) this.ticks = [low, high];
  }

  /** Finds ticks at powers of two, which sizes in bytes are read in. */
  binaryTicks(low, high, nice, count) {
    const first = Math.floor(Math.log2(low) + 1e-9), last = Math.max(first + 1, Math.ceil(Math.log2(high) - 1e-9));
    if (nice) [low, high] = [2 ** first, 2 ** last];
    [this.low, this.high, this.by] = [low, high, 0];
    const step = Math.max(1, Math.ceil((last - first) / count));
    for (let power = first; power <= last; power += step) this.ticks.push(2 ** power);
    this.ticks = this.ticks.filter((tick) => tick >= low * 0.999999 && tick <= high * 1.000001);
  }

  /** Lays the axis between two pixels. */
  between(start, end) {
    const to = (value) => this.log ? Math.log10(value) : value;
    const low = to(this.low), span = to(this.high) - low;
    this.there = (value) => start + ((to(value) - low) / span) * (end - start);
    this.back = (pixel) => { const at = low + ((pixel - start) / (end - start)) * span; return this.log ? 10 ** at : at; };
    return this;
  }

  label(tick) {
    if (this.kind === "time") return timeLabel(tick, this.by, this.high - this.low);
    if (this.kind === "duration") return durationLabel(tick, this.by);
    if (this.kind === "bytes") return this.log ? bytes(tick) : bytesLabel(tick, this.by, this.high);
    return numberLabel(tick, this.by, Math.max(Math.abs(this.low), Math.abs(this.high)));
  }
}

/** Labels a number so that its neighbours at this distance differ: 0.25, 10k, 2e-5. */
function numberLabel(tick, by, most) {
  if (tick === 0) return "0";
  const digitsOf = (width) => Math.max(0, -Math.floor(Math.log10(width) + 1e-9));
  const [size, unit] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([size]) => most >= 10 * size || (most >= size && size > 1e3)) ?? [1, ""];
  if (by === 0) { // logarithmic
    if (tick >= 1e15 || tick < 1e-3) return tick.toExponential().replace("e+", "e");
    const [size, unit] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([size]) => tick >= size && (size > 1e3 || tick >= 1e4)) ?? [1, ""];
    return `${Number((tick / size).toPrecision(6))}${unit}`;
  }
  if (most < 1e-3 || most >= 1e13) {
    const digits = Math.max(0, Math.floor(Math.log10(Math.abs(tick))) - Math.floor(Math.log10(by) + 1e-9));
    return tick.toExponential(Math.min(digits, 12)).replace("e+", "e");
  }
  return `${(tick / size).toFixed(Math.min(digitsOf(by / size), 12))}${unit}`;
}

/** Labels a size in the unit of the greatest one. */
function bytesLabel(tick, by, most) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(most) / 10))), unit = 1024 ** power;
  const digits = by > 0 ? Math.max(0, -Math.floor(Math.log10(by / unit) + 1e-9)) : 1;
  return tick === 0 ? "0" : `${(tick / unit).toFixed(Math.min(digits, 6))} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function durationLabel(tick, by) {
  const sign = tick < 0 ? "−" : "", seconds = Math.abs(tick);
  if (seconds === 0) return "0";
  if (by < 1) return `${sign}${numberLabel(seconds, by, seconds)}s`;
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  let rest = seconds;
  const parts = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size + 1e-9);
    if (count > 0) parts.push(`${count}${unit}`);
    rest -= count * size;
    if (by % size === 0 && by >= size) break;
  }
  return sign + parts.slice(0, 2).join(" ");
}

function timeLabel(tick, by, span) {
  const time = new Date(tick * 1000);
  if (by >= 86400) return time.toLocaleDateString([], { month: "short", day: "numeric" });
  const isMidnight = time.getHours() === 0 && time.getMinutes() === 0;
  if (isMidnight && span > 43200) return time.toLocaleDateString([], { month: "short", day: "numeric" });
  const second = by < 60 ? { second: "2-digit" } : {};
  return time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...second });
}
