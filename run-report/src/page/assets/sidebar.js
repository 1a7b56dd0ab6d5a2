// The list of runs, or of groups: which are shown, and in which colour.

const LISTED = 12; // most runs that are listed below their groups

let runFilter = "";

function set(numbers) {
  shown.clear();
  for (const number of numbers) shown.add(number);
  listRuns();
  redraw();
  fillSettings();
  ask();
}

/** Returns the runs whose names have the words that were typed. */
function listed() {
  return [...data.runs.keys()].filter((number) => !data.runs[number].gone && data.runs[number].run.toLowerCase().includes(runFilter));
}

/** Makes an entry for some runs, with a box that shows or hides them. */
function entry(numbers, pen, name, title, number) {
  const item = make("li", "", { "data-number": number }), label = make("label"), box = make("input", "", { type: "checkbox" });
  box.checked = numbers.some((one) => shown.has(one));
  box.addEventListener("change", () => {
    for (const one of numbers) { if (box.checked) shown.add(one); else shown.delete(one); }
    redraw();
    fillSettings();
    ask();
  });
  label.append(box, swatch(pen), fitted(name, title));
  item.append(label);
  item.addEventListener("pointerenter", () => pointAt(number));
  item.addEventListener("pointerleave", () => pointAt(null));
  item.addEventListener("dblclick", () => set(numbers));
  return { item, label };
}

/** Lists the runs, below their groups if there are groups. */
function listRuns() {
  const runItem = (number, isBelow) => {
    const run = data.runs[number], { item, label } = entry([number], penOfRun(number), shortName(run.run), run.run, chosen.group ? groups().findIndex((group) => group.runs.includes(number)) : number);
    if (isBelow) item.className = "below";
    label.append(make("small", run.status, { class: run.mood, title: run.reason ?? run.status }));
    return item;
  };
  const items = chosen.group
    ? groups().flatMap((group, number) => {
      const { item, label } = entry(group.runs, penFor(number), group.name, group.name, number);
      label.append(make("small", `${group.runs.length} ${group.runs.length === 1 ? "run" : "runs"}`));
      const runs = listed().filter((one) => group.runs.includes(one));
      const below = data.runs.length <= LISTED || runFilter !== "" ? runs : [];
      return runs.length > 0 ? [item, ...below.map((one) => runItem(one, true))] : [];
    })
    : listed().map((number) => runItem(number, false));
  $("runs").replaceChildren(...items);
}

/** Fills the list of settings to group by. */
function fillGroups() {
  const keys = varyingSettings();
  $("group").replaceChildren(make("option", "no groups", { value: "" }), ...keys.map((key) => make("option", key, { value: key })));
  $("group").value = chosen.group;
  $("grouping").hidden = keys.length === 0;
}

/** Prepares the buttons and lists above the runs. */
function startSidebar() {
  $("all").addEventListener("click", () => set(listed()));
  $("none").addEventListener("click", () => set([...shown].filter((number) => !listed().includes(number))));
  $("find").addEventListener("input", (event) => { runFilter = event.target.value.toLowerCase(); listRuns(); });
  fillGroups();
  $("group").addEventListener("change", (event) => { chosen.group = event.target.value; grouping.of = null; listRuns(); redraw(); });
  $("find").hidden = data.runs.length < 8;
  $("toggles").open = window.innerWidth > 700 || data.runs.length <= 4;
}
