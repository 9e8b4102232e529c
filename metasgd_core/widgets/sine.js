// Adapt to a sine: two starts, the same points, a few inner steps.

/** Which of two errors is less, in words. */
function sineVerdict(names, errors) {
  const { words } = SINE, [a, b] = errors.map((error) => (error <= SINUSOID.limit ? error : Infinity));
  if (a === b) return a === Infinity ? words.lost : words.draw;
  const times = Math.max(a, b) / Math.min(a, b), name = names[a < b ? 0 : 1];
  return times < Infinity ? fill(words.better, { name, times: Number(times.toPrecision(3)) }) : fill(words.alone, { name });
}

function render({ model, el }) {
  const { words } = SINE;
  const frame = createFrame(el, model, {
    title: words.title, goals: [{ text: model.get("_goal") || words.goal }], summary: words.summary, fits: sineFits,
  });
  let net, starts;
  try {
    net = makeNetwork([1, 40, 40, 1], "relu");
    starts = storedStarts(net, model.get("_weights"), SINE.starts, model.get("_rates"));
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  const plot = createPlot(frame, {
    x: [-5.5, 5.5], y: [-6.5, 6.5], xlabel: words.x, ylabel: words.y, label: words.plot,
  });
  const errors = createPlot(frame, {
    x: [0, 10], y: [1e-3, 1e3], ylog: true, xlabel: words.steps, ylabel: words.error, label: words.errors,
  });

  const names = Object.keys(starts), option = (name) => [name, name];
  addSelect(frame, SINE, "left", names.map(option));
  addSelect(frame, SINE, "right", [...names.map(option), ["none", words.none]]);
  const task = addSineTask(frame, plot);
  frame.onRedraw(() => {
    const { points, xs, ys, truth, steps } = task.read(), colours = palette();
    const sides = [["left", model.get("left")], ["right", model.get("right")]]
      .filter(([, name]) => name !== "none");
    const legend = truth ? [{ label: words.truth, colour: colours.text }] : [];
    const paths = sides.map(([, name]) => sineAdapt(net, starts[name], xs, ys, truth));
    sides.forEach(([side, name], k) => {
      const style = { colour: methodColour(name), dash: k ? "9 3" : "" };
      task.adapted(side, paths[k], { ...style, shift: sides.length > 1 ? 0.12 * k - 0.06 : 0 });
      legend.push({ label: name, ...style });
      const all = paths[k].map(({ error }) => error);
      task.draw(errors, "curve", `${side} error`, all.map((_, i) => i), all, { width: 2, ...style });
      task.draw(errors, "points", `${side} now`, [steps], [all[steps]], { colour: style.colour, radius: 5 });
    });
    task.finish();
    plot.legend(legend);

    const stories = sides.map(([, name], k) => sineStory(name, paths[k], steps));
    ["left", "right"].forEach((side, k) => {
      const path = paths[k], name = path ? sides[k][1] : words.missing, none = SINUSOID.words.none;
      const show = (what, error) => setReadout(frame, `${side} ${what}`,
        path ? sineError(error) : none, fill(words[what], { name, count: steps }));
      show("before", path?.[0].error);
      show("after", path?.[steps].error);
      show("support", path?.[steps].support);
    });
    setReadout(frame, "points", String(points.length), words.points);
    setReadout(frame, "verdict", sides.length < 2 ? SINUSOID.words.none
      : sineVerdict(sides.map(([, name]) => name), paths.map((path) => path[steps].error)), words.verdict);
    frame.say(stories.join(" "));
  });
  return frame.close;
}

export default { render };
