// What is chosen is in the fragment of the page's address: a page that is loaded again, or a link to it, shows the same.

const SWITCHES = ["logx", "logy", "trim"];
const LONGEST = 4000; // most characters of a fragment; which of very many runs are shown is forgotten

const initial = { chosen: { ...chosen }, shown: new Set(shown) }; // what a page without a fragment shows
let isDark = null; // as the user has chosen; null follows the system

/** Takes over what the address tells, as far as it fits this page. */
function recall() {
  const said = new URLSearchParams(location.hash.slice(1)), numberOf = (name) => data.runs.findIndex((run) => run.run === name);
  if (Object.hasOwn(WAYS, said.get("x"))) chosen.way = said.get("x");
  const smooth = Number(said.get("smooth") ?? NaN);
  if (smooth >= 0 && smooth <= 0.99) chosen.smooth = smooth;
  for (const name of SWITCHES) if (said.has(name)) chosen[name] = said.get(name) === "1";
  chosen.filter = said.get("find") ?? "";
  if (varyingSettings().includes(said.get("group"))) chosen.group = said.get("group");
  const zoomed = (said.get("zoom") ?? "").split("~").map(Number);
  if (zoomed.length === 2 && zoomed[0] < zoomed[1]) chosen.zoom = zoomed;
  for (const name of said.getAll("hide")) shown.delete(numberOf(name));
  for (const number of said.getAll("show").map(numberOf)) if (number >= 0) shown.add(number);
  if (said.has("dark")) isDark = said.get("dark") === "1";
}

/** Writes what is chosen into the address. */
function remember() {
  const told = new URLSearchParams(), tell = (name, value, usual) => { if (value !== usual) told.append(name, String(value)); };
  tell("x", chosen.way, initial.chosen.way);
  tell("smooth", chosen.smooth, initial.chosen.smooth);
  for (const name of SWITCHES) tell(name, Number(chosen[name]), Number(initial.chosen[name]));
  tell("find", chosen.filter, "");
  tell("group", chosen.group, "");
  if (chosen.zoom) told.append("zoom", chosen.zoom.join("~"));
  if (isDark !== null) told.append("dark", String(Number(isDark)));
  const rest = new URLSearchParams(told);
  data.runs.forEach((run, number) => {
    if (!run.gone && initial.shown.has(number) !== shown.has(number)) rest.append(shown.has(number) ? "show" : "hide", run.run);
  });
  const text = String(String(rest).length > LONGEST ? told : rest), bare = location.href.split("#")[0];
  const address = text ? `${bare}#${text}` : bare;
  if (address !== location.href) history.replaceState(null, "", address);
}
