// Pictures that the runs name in their rows, by step.

/** Fills the pictures: a row for each name, with a slider over the steps and the pictures of all shown runs. */
function fillMedia() {
  const runs = data.runs.filter((run, number) => run.media?.length > 0 && shown.has(number) && !run.gone);
  const key = JSON.stringify(runs.map((run) => [run.run, run.media.map((one) => [one.name, one.step])]));
  if (key === fillMedia.key) return; // a slider stays where it is
  fillMedia.key = key;
  const names = [...new Set(runs.flatMap((run) => run.media.map((one) => one.name)))];
  $("media").hidden = names.length === 0;
  const at = new Map([...$("pictures").children].map((one) => [one.dataset.name, Number(one.dataset.step)]));
  $("pictures").replaceChildren(...names.map((name) => pictures(name, runs, at.get(name))));
}

function pictures(name, runs, chosenStep) {
  const steps = [...new Set(runs.flatMap((run) => run.media.filter((one) => one.name === name).map((one) => one.step)))].sort((a, b) => a - b);
  const part = make("div", "", { class: "media", "data-name": name }), head = make("p", "", { class: "controls" }), grid = make("div", "", { class: "pictures" });
  const slider = make("input", "", { type: "range", min: 0, max: steps.length - 1, step: 1, "aria-label": `step of ${name}` }), word = make("output");
  const show = () => {
    const step = steps[Number(slider.value)];
    part.dataset.step = String(step);
    word.textContent = `step ${figure(step)}`;
    grid.replaceChildren(...runs.flatMap((run) => {
      // The latest picture up to the step: runs do not draw at the same steps.
      const one = run.media.filter((one) => one.name === name && one.step <= step).pop();
      if (!one) return [];
      const figureOf = make("figure"), caption = make("figcaption");
      caption.append(fitted(shortName(run.run), run.run), make("small", `step ${figure(one.step)}`));
      figureOf.append(make("img", "", { src: one.src.startsWith("data:") ? one.src : addressOf(one.src), alt: `${name} of ${run.run} at step ${one.step}`, loading: "lazy" }), caption);
      return [figureOf];
    }));
  };
  const known = steps.indexOf(chosenStep);
  slider.value = String(known >= 0 && known < steps.length - 1 ? known : steps.length - 1);
  slider.addEventListener("input", show);
  head.append(make("b", name), slider, word);
  part.append(head, grid);
  show();
  return part;
}
