// Adapt to a sine: two starts, the same points, a few inner steps.

/** Which of two errors is less, in words. */
function sineVerdict(names, errors) {
  const { words } = SINE, [a, b] = errors.map((error) => (error <= SINUSOID.limit ? error : Infinity));
  if (a === b) return a === Infinity ? words.lost : words.draw;
  const times = Math.max(a, b) / Math.min(a, b), name = names[a < b ? 0 : 1];
  return times < Infinity ? fill(words.better, { name, times: Number(times.toPrecision(3)) }) : fill(words.alone, { name });
}

function render({ model, el }) {
  const { words } = SINE, get = (name) => model.get(name), given = get("_goal"), names = get("_methods");
  const [left, right] = [get("left"), get("right")], opening = () => get("left") === left && get("right") === right;
  let wins = 0, draws = 0, counted = "", paths = []; // on one curve, of so many sets of points
  const goals = given ? [{ text: given }] : right === "none" ? [] : [
    { text: fill(words.goals.majority, { name: left, least: SINE.least }), reached: () => opening() && counted === about() && draws >= SINE.least && 2 * wins > draws },
    { text: fill(words.goals.breaks, { name: right }), reached: () => opening() && !(paths[1][get("steps")].error <= SINUSOID.limit) },
  ];
  const frame = createFrame(el, model, { title: words.title, goals, summary: words.summary, fits: sineFits });
  let net, starts;
  try {
    net = makeNetwork([1, 40, 40, 1], "relu");
    const rates = get("_rates"), counts = { null: net.count, matrices: curvatureCount(net) };
    starts = Object.fromEntries(Object.entries(storedStarts(net, get("_weights"), names, rates, counts))
      .map(([name, { theta, alpha }]) => [name, { theta, alpha: rates[name] === "matrices" ? curvature(net, alpha) : alpha }]));
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  const plot = createPlot(frame, {
    height: 320, x: [-5.5, 5.5], y: [-6.5, 6.5], xlabel: words.x, ylabel: words.y, label: words.plot,
  });
  const errors = createPlot(frame, {
    height: 200, x: [0, 10], y: [1e-3, 1e3], ylog: true, xlabel: words.steps, ylabel: words.error, label: words.errors,
  });

  const option = (name) => [name, name];
  addSelect(frame, SINE, "left", names.map(option));
  addSelect(frame, SINE, "right", [...names.map(option), ["none", words.none]]);
  const task = addSineTask(frame, plot);

  /** What a count belongs to: it begins anew when the curve, the steps or the starts change. */
  const about = () => JSON.stringify([task.curve(), get("steps"), get("left"), get("right")]);
  /** Draw new points on the same curve, so many times, and count who is ahead. */
  const redraw = (times) => {
    const curve = task.curve(), steps = get("steps"), truth = SINE_GRID.map((x) => sineAt(curve, x));
    if (counted !== about()) [wins, draws, counted] = [0, 0, about()];
    let points = get("points");
    for (const count = points.length; times > 0; times--) {
      points = sinePoints(curve, get("seed"), count, 100 + 20 * draws++);
      const [one, other] = [get("left"), get("right")].map((name) => {
        if (name === "none") return 0;
        const { theta, alpha } = starts[name], [xs, ys] = [0, 1].map((i) => points.map((point) => point[i]));
        const error = meanSquare(forward(net, adaptSteps(net, theta, alpha, xs, ys, steps)[steps], SINE_GRID), truth);
        return error <= SINUSOID.limit ? error : Infinity;
      });
      wins += Number(one < other);
    }
    frame.set({ points, on_curve: true });
    frame.redraw();
  };
  addButton(frame, words.again, () => redraw(1), task.bar);
  addButton(frame, fill(words.often, { least: SINE.least }), () => redraw(SINE.least), task.bar);
  const tally = element("output", { "data-readout": "tally" });
  task.bar.append(tally);

  frame.onRedraw(() => {
    const { xs, ys, truth, steps } = task.read(), colours = palette();
    const sides = [["left", get("left")], ["right", get("right")]].filter(([, name]) => name !== "none");
    const legend = truth ? [{ label: words.truth, colour: colours.text }] : [];
    paths = sides.map(([, name]) => sineAdapt(net, starts[name], xs, ys, truth));
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

    ["left", "right"].forEach((side, k) => setReadout(frame, `${side} support`,
      paths[k] ? sineError(paths[k][steps].support) : SINUSOID.words.none, fill(words.support, { name: get(side) })));
    const two = sides.length > 1;
    setReadout(frame, "verdict", two
      ? sineVerdict(sides.map(([, name]) => name), paths.map((path) => path[steps].error)) : SINUSOID.words.none, words.verdict);
    tally.textContent = two && draws && counted === about() ? fill(words.ahead, { name: get("left"), wins, count: draws }) : "";
    frame.say(...sides.flatMap(([side, name], k) => [...sineStory(name, paths[k], steps, `${side} `), " "]));
  });
  return frame.close;
}

export default { render };
