// Adapt to a sine: two starts, the same points, a few inner steps.

// In the order of their bytes: a stored notebook sorts the names of an object.
const SINE_STARTS = ["random", "joint", "MAML", "FOMAML", "Reptile", "Meta-SGD"];

/** Which of two errors is less, in words. */
function sineVerdict(names, errors) {
  const [a, b] = errors.map((error) => (error <= SINE_LIMIT ? error : Infinity));
  if (a === b) return a === Infinity ? "both have diverged" : "a draw";
  const times = Math.max(a, b) / Math.min(a, b);
  return names[a < b ? 0 : 1] +
    (times < Infinity ? `, ${Number(times.toPrecision(3))} times less error` : ", the other has diverged");
}

function render({ model, el }) {
  const frame = createFrame(el, model, {
    title: "Adapt to a sine",
    goal: model.get("_goal") || "Find a task on which MAML beats Meta-SGD after one step. Then find where Meta-SGD breaks.",
    summary: "Dotted: before the first step. Arrows: how the last step moved the curve at each point.",
    check: sineCheck,
  });
  let net, starts;
  try {
    net = makeNetwork([1, 40, 40, 1], "relu");
    starts = storedStarts(net, model.get("_weights"), SINE_STARTS, model.get("_rates"));
  } catch (error) {
    frame.fail(`This figure cannot be drawn: ${error.message}.`);
    return;
  }
  const plot = createPlot(frame, {
    x: [-5.5, 5.5], y: [-6.5, 6.5], xlabel: "x", ylabel: "y",
    label: "The curve, the support points, and what the networks predict",
  });
  const errors = createPlot(frame, {
    x: [0, 10], y: [1e-3, 1e3], ylog: true, xlabel: "inner steps",
    ylabel: "error", label: "The error after each number of inner steps",
  });

  const names = Object.keys(starts), option = (name) => [name, name];
  addSelect(frame, { trait: "left", label: "First start", options: names.map(option) });
  addSelect(frame, {
    trait: "right", label: "Second start", options: [...names, "none"].map(option),
  });
  const task = addSineTask(frame, plot);
  frame.onRedraw(() => {
    const { points, xs, ys, truth, steps } = task.read(), colours = palette();
    const sides = [["left", model.get("left")], ["right", model.get("right")]]
      .filter(([, name]) => name !== "none");
    const legend = truth ? [{ label: "the sine", colour: colours.text }] : [];
    const paths = sides.map(([, name]) => sineAdapt(net, starts[name], xs, ys, truth));
    sides.forEach(([side, name], k) => {
      const style = { colour: methodColour(name), dash: k ? "9 3" : "" };
      task.adapted(side, paths[k], { ...style, shift: sides.length > 1 ? 0.12 * k - 0.06 : 0 });
      legend.push({ label: name, ...style });
      const all = paths[k].map(({ error }) => error);
      task.draw(errors, "curve", `${side} error`, all.map((_, i) => i), all, { width: 2, ...style });
      task.draw(errors, "points", `${side} error now`, [steps], [all[steps]], { colour: style.colour, radius: 5 });
    });
    task.finish();
    plot.legend(legend);

    const stories = sides.map(([, name], k) => sineStory(name, paths[k], steps));
    ["left", "right"].forEach((side, k) => {
      const path = paths[k], name = path ? sides[k][1] : "no second start";
      const show = (what, error, label) => setReadout(
        frame, `${side} ${what}`, path ? sineError(error) : "–", `${name}, ${label}`);
      show("before", path?.[0].error, "error before");
      show("after", path?.[steps].error, `after ${steps} step${steps === 1 ? "" : "s"}`);
      show("support", path?.[steps].support, "on the points");
    });
    setReadout(frame, "points", String(points.length), "support points");
    setReadout(frame, "verdict", sides.length < 2 ? "–"
      : sineVerdict(sides.map(([, name]) => name), paths.map((path) => path[steps].error)), "better");
    frame.say(stories.join(" "));
  });
  return frame.close;
}

export default { render };
