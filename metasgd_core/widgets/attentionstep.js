// Attention as a step: linear attention over the support points, written by hand, is one gradient step.

/** A row of zeros with a one at i. */
function attentionUnit(width, i) {
  return Array.from({ length: width }, (_, j) => (i === j ? 1 : 0));
}

/**
 * The networks with their A, and the trained layer, from the bytes of the figure.
 * @param {Network} net
 * @param {DataView|Uint8Array} view
 */
function attentionStored(net, view) {
  const width = net.layers.at(-1).in + 1, kinds = ATTENTIONSTEP.rates, square = width * (width + 1);
  const rows = storedRows(view, [...[1, width, width * width].flatMap((size) => [net.count, size]), net.count, square, square, width + 1], 16);
  const table = (numbers, across) => Array.from({ length: width }, (_, i) => Array.from(numbers.slice(i * across, (i + 1) * across)));
  const steps = Object.fromEntries(kinds.map((kind) => {
    const [theta, a] = rows.splice(0, 2); // one number, the diagonal, or all
    const diagonal = (i) => attentionUnit(width, i).map((one) => one * a[a.length > 1 ? i : 0]);
    return [kind, { theta, A: a.length > width ? table(a, width) : Array.from({ length: width }, (_, i) => diagonal(i)) }];
  }));
  const [theta, query, key, value] = rows;
  return { steps, trained: { theta, query: table(query, width + 1), key: table(key, width + 1), value: Array.from(value) } };
}

/** Theta after one gradient step on the last layer, whose weights and bias are one row: the gradient's, times A. */
function attentionStep(net, { theta, A }, xs, ys) {
  const from = net.layers.at(-1).weight, g = squaredErrorGradient(net, theta, xs, ys).gradient.subarray(from);
  return theta.map((p, i) => (i < from ? p : g.reduce((left, slope, j) => left - slope * A[j][i - from], p)));
}

/** The matrices of the attention that is this step. */
function attentionByHand(net, { theta, A }) {
  return {
    theta,
    query: A.map((row) => [...row, 0]),
    key: A.map((_, i) => attentionUnit(A.length + 1, i)),
    value: [...Array.from(theta.subarray(net.layers.at(-1).weight), (p) => -2 * p), 2],
  };
}

/** The tokens (z(x), 1, y), a row a point. */
function attentionTokens(net, theta, xs, ys) {
  const z = traceLayers(net, theta, xs).at(-2), width = z.length / xs.length;
  return Array.from(xs, (_, k) => [...z.subarray(k * width, (k + 1) * width), 1, ys[k]]);
}

function attentionDot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/**
 * One layer of linear attention: what it predicts at `at`, how well each key fits each query there (a row a
 * query, over the number of points), the values, and what the network says without them.
 */
function attentionLayer(net, { theta, query, key, value }, xs, ys, at) {
  const first = forward(net, theta, at), tokens = attentionTokens(net, theta, xs, ys);
  const seen = (W, rows) => rows.map((token) => W.map((row) => attentionDot(row, token)));
  const keys = seen(key, tokens), values = tokens.map((token) => attentionDot(value, token));
  const fits = seen(query, attentionTokens(net, theta, at, first))
    .map((asked) => keys.map((one) => attentionDot(one, asked) / keys.length));
  return { first, values, fits, after: first.map((y, p) => y + attentionDot(fits[p], values)) };
}

/** The weight at the query of a point at each of `places`, as one of `count`. A key knows no y: any will do. */
function attentionWeights(net, layer, places, count, query) {
  const [fits] = attentionLayer(net, layer, places, places, [query]).fits;
  return fits.map((fit) => 2 * fit * fits.length / count); // the value is twice the residual
}

function attentionNumber(value, digits = 2) {
  const scale = 10 ** digits;
  return (Math.round(value * scale) / scale || 0).toFixed(digits).replace("-", "−"); // never −0.00
}

function render({ model, el }) {
  const { words, rates, goal: { counts, nothing } } = ATTENTIONSTEP;
  let weights = [0], added = 0;
  const frame = createFrame(el, model, {
    title: words.title, summary: words.summary,
    fits: (state) => pointsFit(state) && pointFits(state.query ?? 0),
    goals: [
      { text: words.goals.negative, reached: () => weights.some((weight) => weight < -nothing) },
      { // where the network already says what the sine is: the residual is its value
        text: fill(words.goals.nothing, { nothing, counts }),
        reached: () => Math.abs(added) < nothing && Math.abs(weights[Math.min(model.get("chosen"), weights.length - 1)]) > counts,
      },
    ],
  });
  let net, stored;
  try {
    net = makeNetwork([1, 40, 40, 1], "relu");
    stored = attentionStored(net, model.get("_weights"));
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  const look = { x: [-5.5, 5.5], indent: 64 };
  const plot = createPlot(frame, { ...look, y: [-6.5, 6.5], height: 320, ylabel: words.y, label: words.plot });
  const shares = createPlot(frame, { ...look, y: [-1, 1], height: 170, ylabel: words.weight, label: words.weights });
  const sums = createPlot(frame, { ...look, y: [-1, 1], height: 190, xlabel: words.x, ylabel: words.change, label: words.adds });
  addSelect(frame, ATTENTIONSTEP, "rates", rates.map((kind) => [kind, words.rates[kind]]));
  const showPoints = addPoints(frame, plot);
  const even = (numbers) => {
    const high = Math.max(...Array.from(numbers, Math.abs));
    return [-1, 1].map((side) => side * ([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((edge) => edge >= high) ?? 100));
  };

  frame.onRedraw(() => {
    const colours = palette(), query = model.get("query"), { xs, ys, count, chosen, goal } = showPoints();
    const start = stored.steps[model.get("rates")], layer = attentionByHand(net, start);
    const step = forward(net, attentionStep(net, start, xs, ys), POINTS_GRID);
    const byHand = attentionLayer(net, layer, xs, ys, POINTS_GRID);
    const trained = attentionLayer(net, stored.trained, xs, ys, POINTS_GRID).after;
    const { first: [before], values, after: [after] } = attentionLayer(net, layer, xs, ys, [query]);
    const [kernel, residuals] = [attentionWeights(net, layer, POINTS_GRID, count, query), values.map((value) => value / 2)];
    weights = attentionWeights(net, layer, xs, count, query);
    const adds = weights.map((weight, k) => weight * residuals[k]);
    added = adds[chosen];

    const curves = [
      { name: "before", ys: byHand.first, colour: colours.sky, dash: "3 5" },
      { name: "step", ys: step, colour: colours.green, width: 2.4 },
      { name: "trained", ys: trained, colour: colours.purple, dash: "9 4" },
    ];
    for (const { name, ys: curve, ...style } of curves) {
      plot.curve(name, POINTS_GRID, pointsShown(curve), style);
    }
    const dots = [...POINTS_GRID.keys()].filter((i) => i % 3 === 0), pick = (numbers) => dots.map((i) => numbers[i]);
    plot.points("attention", pick(POINTS_GRID), pick(byHand.after), { colour: colours.text, radius: 2.8 });
    shares.setDomain({ y: even([...weights, ...kernel]) });
    sums.setDomain({ y: even(adds) });
    for (const picture of frame.plots) {
      picture.curve("asked", [query, query], picture.domain.y, { colour: colours.vermilion, width: 1.5, dash: "3 3" });
    }
    shares.curve("kernel", POINTS_GRID, kernel, { colour: colours.grey, width: 1.5 });
    for (const [picture, bars] of /** @type {[any, number[]][]} */ ([[shares, weights], [sums, adds]])) {
      picture.curve("zero", [-5, 5], [0, 0], { colour: colours.grey, width: 1 });
      const others = bars.flatMap((bar, k) => (k === chosen ? [] : [0, bar, NaN]));
      const places = xs.flatMap((place, k) => (k === chosen ? [] : [place, place, NaN]));
      picture.curve("bars", places, others, { colour: colours.blue, width: 6 });
      picture.curve("own", [xs[chosen], xs[chosen]], [0, bars[chosen]], { colour: colours.orange, width: 6 });
    }
    plot.arrow("sum", query, before, query, after, { colour: colours.vermilion, width: 2.4 });

    const asked = plot.handle("query", {
      x: query, y: plot.domain.y[0], label: words.query, colour: colours.vermilion, onMove: (to) => frame.set({ query: pointWithin(to) }),
    });
    asked.setAttribute("aria-valuetext", fill(words.asked, { x: attentionNumber(query), y: attentionNumber(after) }));
    plot.legend([
      { label: POINTS.words.truth, colour: colours.grey },
      ...[...curves, { name: "attention", colour: colours.text, dash: "0 6" }]
        .map(({ name, colour, dash }) => ({ label: words.names[name], colour, dash })),
    ]);
    shares.legend([{ label: words.kernel, colour: colours.grey }]);

    const error = (curve) => String(Number(pointsError(curve, goal).toPrecision(3)));
    const [from, to] = [before, after].map((y) => Number(y.toFixed(2))); // so that what is said adds up
    const gap = Math.max(...step.map((y, i) => Math.abs(y - byHand.after[i])));
    frame.say(...marked(words.said, {
      count, x: attentionNumber(query), before: attentionNumber(from), total: attentionNumber(to - from),
      after: attentionNumber(to), weight: attentionNumber(weights[chosen], 3), residual: attentionNumber(residuals[chosen]),
      added: attentionNumber(added, 3), gap: gap ? gap.toExponential(0).replace("-", "−") : "0", step: error(step), trained: error(trained),
    }));
  });
  return frame.close;
}

export default { render };
