"use strict";
// The data of the page, as run-report wrote it; see run-report/src/page/data.rs.
const data = JSON.parse(document.getElementById("data").textContent);

/** Completes a run, whose details a live page asks for later. */
function prepare(run) {
  for (const part of ["curves", "axes", "timeline", "log"]) run[part] ??= [];
  if (run.packages) Object.assign(run.packages, data.same_packages);
  return run;
}
data.runs.forEach(prepare);

const $ = (id) => document.getElementById(id);

/** Makes an element with text and attributes; texts are never read as HTML. */
function make(name, text = "", attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const SHARED = sharedStart(data.runs.map((run) => run.run));

/** Returns what all names begin with, up to the end of a word: `sweep/`, `small-`. A short beginning is kept. */
function sharedStart(names, marks = ["/", "-", "_", " ", ","]) {
  if (names.length < 2) return "";
  let length = 0;
  while (length < names[0].length && names.every((name) => name[length] === names[0][length])) length += 1;
  const shared = names[0].slice(0, length), end = Math.max(...marks.map((mark) => shared.lastIndexOf(mark))) + 1;
  const isWorth = shared.endsWith("/", end) || end >= 8;
  return isWorth && names.every((name) => name.length > end) ? shared.slice(0, end) : "";
}

let short = { of: 0, names: new Map() }; // the short names, and the number of runs they are for

const LONG = 24; // most characters of a name that is not shortened for its batch

/**
 * Returns a name without what all names share; a long one without what the names of its batch share, up to the end of a
 * setting such as `model-cnn_`, unless two would read alike.
 */
function shortName(name) {
  if (short.of !== data.runs.length) short = { of: data.runs.length, names: shortNames(data.runs.map((run) => run.run)) };
  return short.names.get(name) ?? name;
}

function shortNames(names) {
  const bare = names.map((name) => name.startsWith(SHARED) ? name.slice(SHARED.length) : name), batches = new Map();
  const batchOf = (name) => name.slice(0, name.lastIndexOf("/") + 1);
  for (const name of bare) batches.set(batchOf(name), [...(batches.get(batchOf(name)) ?? []), name]);
  for (const [batch, members] of batches) {
    const isLong = members.some((name) => name.length > LONG);
    batches.set(batch, batch !== "" && isLong ? sharedStart(members, ["/", "_", " ", ","]) : "");
  }
  const cut = bare.map((name) => {
    const { length } = batches.get(batchOf(name));
    return length > 0 ? `…${name.slice(length)}` : name;
  });
  const counts = new Map();
  for (const name of cut) counts.set(name, (counts.get(name) ?? 0) + 1);
  return new Map(names.map((name, i) => [name, counts.get(cut[i]) === 1 ? cut[i] : bare[i]]));
}

const TAIL = 7; // characters at the end of a long name that are always shown

/** Makes an element whose text loses its middle, not its end, where there is no room for it. */
function fitted(text, title = text) {
  const letters = [...text];
  const whole = make("span", "", { class: "fit", title });
  if (letters.length <= 2 * TAIL) return Object.assign(whole, { textContent: text });
  whole.append(make("span", letters.slice(0, -TAIL).join("")), make("span", letters.slice(-TAIL).join("")));
  return whole;
}

/** Formats a number in few digits; null was not finite. */
function figure(number) {
  if (number === null || number === undefined) return "NaN";
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(number.toPrecision(4)).toExponential();
  return String(Number(number.toPrecision(5)));
}

/** Formats a size in bytes. */
function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (Math.abs(size) >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${Number(size.toPrecision(3))} ${units[unit]}`;
}

/** Formats a time span in its two greatest units. */
function duration(seconds) {
  if (!(Math.abs(seconds) >= 0.0005)) return "0s";
  if (seconds < 10) return `${Number(seconds.toPrecision(2))}s`;
  const whole = Math.floor(seconds);
  const parts = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = parts.findIndex(([, size]) => whole >= size);
  const [unit, size] = parts[first];
  const rest = parts[first + 1] ? Math.floor((whole % size) / parts[first + 1][1]) : 0;
  return `${Math.floor(whole / size)}${unit}${rest > 0 ? ` ${rest}${parts[first + 1][0]}` : ""}`;
}

/** Formats a time in seconds since 1970 in local time. */
function localTime(seconds, withSeconds = false) {
  const date = new Date(seconds * 1000);
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  const second = withSeconds ? { second: "2-digit" } : {};
  return date.toLocaleString([], { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", ...second });
}

/** Returns the value of a variable of the style sheet. */
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Readies a canvas for its present size, in CSS pixels; returns its pen and the size. */
function penOf(canvas) {
  const ratio = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

/** Shows entries beside the pointer; none hide the box. */
function showTip(event, entries) {
  const tip = $("tip");
  tip.replaceChildren(...entries);
  tip.hidden = entries.length === 0;
  const { offsetWidth: width, offsetHeight: tall } = tip;
  const right = event.clientX + 16 + width < window.innerWidth;
  tip.style.left = `${Math.max(4, right ? event.clientX + 16 : event.clientX - 16 - width)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - tall - 4))}px`;
}
