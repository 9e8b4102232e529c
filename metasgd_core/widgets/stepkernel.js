// One step's kernel: what one step makes of all the support points, and what of one of them alone.

/**
 * The a(x) of the best additive step: a residual of 1 at x adds (a_0 sin + a_1 cos) / shots.
 * @param {number} x
 * @param {number} shots
 */
function stepCarried(x, shots) {
  const { C, P } = STEPKERNEL, z = [Math.sin(x), Math.cos(x)];
  const [[a, b], [c, d]] = P.map((row, i) => row.map((p, j) => (shots - 1) * p + (i === j ? 1 : 0)));
  const Cz = C.map((row) => row[0] * z[0] + row[1] * z[1]);
  const scale = shots / ((z[0] * Cz[0] + z[1] * Cz[1]) * (a * d - b * c));
  return [scale * (d * Cz[0] - b * Cz[1]), scale * (a * Cz[1] - c * Cz[0])];
}

/** The average of all curves, where the best step begins. */
function stepMean(x) {
  return STEPKERNEL.height * Math.cos(x);
}

/**
 * What the best step adds at `at`, for each support point alone.
 * @returns {Float64Array[]} one curve a point
 */
function stepBest(xs, ys, at) {
  return xs.map((x, k) => {
    const [a, b] = stepCarried(x, xs.length), share = (ys[k] - stepMean(x)) / xs.length;
    return at.map((p) => share * (a * Math.sin(p) + b * Math.cos(p)));
  });
}

/**
 * How a network's output at each of `at` depends on its numbers.
 * @returns {Float64Array[]} one gradient a place
 */
function stepSlopes(net, theta, at) {
  return Array.from(at, (x) => backward(net, theta, [x], [1]));
}

/**
 * What a network's step adds at the places of `slopes`, to first order, for a residual of 1 at x alone.
 * @returns {Float64Array}
 */
function stepKernel(net, { theta, alpha }, slopes, x) {
  const pull = backward(net, theta, [x], [1]).map((g, i) => 2 * alpha[i] * g);
  return Float64Array.from(slopes, (slope) => slope.reduce((sum, s, i) => sum + s * pull[i], 0));
}

function render({ model, el }) {
  const { words, networks, floors } = STEPKERNEL;
  let errors = [];
  const frame = createFrame(el, model, {
    title: words.title, summary: words.summary, fits: pointsFit,
    goals: [ // where the points tell the same several times, and where the network is ahead
      { text: words.goals.crowd, reached: () => model.get("points").length === 5 && errors[2] > 1 },
      { text: words.goals.beat, reached: () => model.get("points").length === 5 && errors[1] < errors[2] },
    ],
  });
  let net, starts;
  try {
    net = makeNetwork([1, 40, 40, 1], "relu");
    starts = storedStarts(net, model.get("_weights"), networks, model.get("_rates"));
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  const slopes = Object.fromEntries(networks.map((name) => [name, stepSlopes(net, starts[name].theta, POINTS_GRID)]));
  const plot = createPlot(frame, {
    x: [-5.5, 5.5], y: [-6.5, 6.5], xlabel: words.x, ylabel: words.y, label: words.plot,
  });
  const shares = createPlot(frame, {
    x: [-5.5, 5.5], y: [-3, 3], xlabel: words.x, ylabel: words.change, label: words.shares,
  });
  const showPoints = addPoints(frame, plot);

  frame.onRedraw(() => {
    const colours = palette(), { xs, ys, count, chosen, goal } = showPoints();
    const found = /** @type {any[]} */ (networks.map((name) => {
      const start = starts[name], phi = adaptSteps(net, start.theta, start.alpha, xs, ys, 1)[1];
      const after = forward(net, phi, POINTS_GRID);
      const share = (ys[chosen] - forward(net, start.theta, [xs[chosen]])[0]) / count;
      const alone = stepKernel(net, start, slopes[name], xs[chosen]).map((k) => share * k);
      return { name, after, alone, style: { colour: methodColour(name) } };
    }));
    const terms = stepBest(xs, ys, POINTS_GRID), before = POINTS_GRID.map(stepMean);
    const after = before.map((m, i) => terms.reduce((sum, curve) => sum + curve[i], m));
    found.push({ name: "best", after, alone: terms[chosen], style: { colour: colours.text, dash: "7 4" } });

    const high = Math.max(0.5, ...found.flatMap(({ alone }) => Array.from(alone, Math.abs)));
    shares.setDomain({ y: [-1, 1].map((side) => side * ([0.5, 1, 2, 3, 5, 10, 20, 50].find((edge) => edge >= high) ?? 100)) });
    shares.curve("zero", [-5, 5], [0, 0], { colour: colours.grey, width: 1 });
    shares.curve("place", [xs[chosen], xs[chosen]], shares.domain.y, { colour: colours.orange, width: 1.5, dash: "3 3" });
    errors = found.map(({ name, after: curve, alone, style }) => {
      plot.curve(name, POINTS_GRID, pointsShown(curve), { width: 2.2, ...style });
      shares.curve(name, POINTS_GRID, alone, { width: 2.2, ...style });
      return pointsError(curve, goal);
    });
    plot.legend([{ label: POINTS.words.truth, colour: colours.grey }, ...found.map(({ name, style }) => ({ label: words.names[name], ...style }))]);
    const [MAML, MetaSGD, best] = errors.map((error) => String(Number(error.toPrecision(3))));
    frame.say(...marked(words.said, { count, MAML, MetaSGD, best, floor: floors[count - 1].toFixed(2) }));
  });
  return frame.close;
}

export default { render };
