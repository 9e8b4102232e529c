// The graph of a step: what one step computes from what, and what flows back to theta and to alpha. The
// numbers are torch's: tests/book/test_figure_stepgraph.py holds them to metasgd_core.

/** The mean squared error of theta on some points, and its gradient. */
function graphLoss(rows, theta) {
  const gradient = theta.map(() => 0);
  let loss = 0;
  for (const row of rows) {
    const off = theta.reduce((sum, p, i) => sum + p * row[i], -row.at(-1));
    loss += off * off / rows.length;
    theta.forEach((_, i) => { gradient[i] += 2 * off * row[i] / rows.length; });
  }
  return { loss, gradient };
}

/**
 * All numbers of a step, forward and backward.
 * @param {string} method
 * @param {{support: any, query: any}} task
 * @param {number[]} theta
 * @param {number[]} alpha one for each number of theta
 */
function graphNumbers(method, task, theta, alpha) {
  const { loss: support, gradient } = graphLoss(task.support, theta);
  const phi = theta.map((p, i) => p - alpha[i] * gradient[i]), { loss: query, gradient: arrive } = graphLoss(task.query, phi);
  const gap = theta.map((p, i) => p - phi[i]), exact = method === "MAML" || method === "Meta-SGD";
  // The Hessian times a vector: the loss is quadratic, so its gradient is linear.
  const bent = graphLoss(task.support, theta.map((p, i) => p + alpha[i] * arrive[i])).gradient;
  const through = gradient.map((g, i) => g - bent[i]), straight = method === "Reptile" ? gap : arrive;
  const each = gradient.map((g, i) => -g * arrive[i]);
  return {
    theta, alpha: method === "Meta-SGD" ? alpha : alpha.slice(0, 1), support: [support], gradient, phi, query: [query],
    distance: [gap.reduce((sum, v) => sum + v * v / 2, 0)], arrive, straight, through,
    rates: method === "Meta-SGD" ? each : [each.reduce((sum, v) => sum + v)],
    total: straight.map((v, i) => v + (exact ? through[i] : 0)),
  };
}

function render({ model, el }) {
  const { words, tasks, stages, nodes } = STEPGRAPH, { goals, steps } = words;
  const numeric = ["theta_1", "theta_2", "alpha_1", "alpha_2"], get = (name) => model.get(name), known = get("_methods");
  let numbers = /** @type {any} */ ({}), method = "", kind = "";
  const ended = () => get("stage") === stages, alone = () => ended() && kind === "one";
  const found = {
    MAML: () => alone() && Math.abs(numbers.total[0]) < 0.005,
    FOMAML: () => alone() && numbers.arrive[0] * (numbers.arrive[0] + numbers.through[0]) < 0,
    Reptile: ended,
    "Meta-SGD": () => kind === "two" && numbers.query[0] < 0.01,
  };
  const frame = createFrame(el, model, {
    title: words.title,
    fits: ({ stage = 0 }) => Number.isInteger(stage) && stage >= 0 && stage <= stages,
    goals: [{ text: goals.walk, reached: ended },
      ...known.map((name) => ({ text: goals[name], reached: () => method === name && found[name]() }))],
  });
  const plot = createPlot(frame, { width: 460, height: 440, x: [0, 100], y: [-0.5, 100.5], axes: false, label: words.plot });
  const bar = element("div", { class: "mf-buttons" });
  plot.box.append(bar);
  const [back, next] = [-1, 1].map((way) =>
    addButton(frame, way < 0 ? words.back : words.next, () => frame.set({ stage: get("stage") + way }), bar));
  addSelect(frame, STEPGRAPH, "method", known.map((name) => [name, name]));
  addSelect(frame, STEPGRAPH, "parameters", Object.entries(words.parameters));
  addGroup(frame, words.numbers);
  for (const trait of numeric) addSlider(frame, STEPGRAPH, trait, { step: 0.01 });

  let drawn = new Set(), now = new Set();
  const draw = (what, key, ...rest) => { now.add(key); plot[what](key, ...rest); };
  const digits = (v) => (v < 0 ? "−" : "") + Math.abs(v).toFixed(2);
  const said = ([first, second]) => (second === undefined ? digits(first) : fill(words.pair, { first: digits(first), second: digits(second) }));

  frame.onRedraw(() => {
    [method, kind] = [get("method"), get("parameters")];
    const stage = get("stage"), two = kind === "two", learned = method === "Meta-SGD", reptile = method === "Reptile";
    const pick = (name, other) => [get(`${name}_1`), get(`${name}_${other}`)].slice(0, two ? 2 : 1);
    numbers = graphNumbers(method, tasks[kind], pick("theta", 2), pick("alpha", learned ? 2 : 1));
    for (const trait of numeric) {
      const row = frame.controls.querySelector(`[data-trait="${trait}"]`).parentNode;
      showRow(frame, trait, trait === "theta_2" ? two : trait === "alpha_2" ? two && learned : true);
      row.firstChild.textContent = (!two || trait === "alpha_1" && !learned) && words.single[trait] || words.controls[trait];
    }
    back.disabled = stage === 0;
    next.disabled = stage === stages;

    const colours = palette(), colour = methodColour(method), quiet = { colour: colours.grey, width: 1.2, dash: "2 4" };
    now = new Set();
    /** A box with a name and, once it is computed, its numbers. */
    const node = (place, name, since) => {
      const [x, y, half] = nodes[place], there = stage >= since;
      draw("curve", `${place} box`, [x - half, x + half, x + half, x - half, x - half], [y + 6, y + 6, y - 6, y - 6, y + 6],
        there ? { colour: colours.text, width: stage === since && since ? 2.5 : 1.2, fill: colours.background } : quiet);
      draw("text", `${place} name`, x, y + (there ? 0.9 : -1.4), words.nodes[name], {});
      if (there) draw("text", `${place} number`, x, y - 4, said(numbers[name]), {});
    };
    /** What is computed from what. */
    const forth = (key, since, ...corners) => {
      if (stage >= since) draw("way", key, corners, { colour: colours.text, width: 1.2 });
    };
    /** What flows back: numbers beside the edge, or the edge cut. */
    const flow = (key, since, corners, open, values, [x, y]) => {
      if (stage < since) return;
      draw("way", key, corners, open ? { colour, width: 2.5 } : { ...quiet, width: 1.5 });
      const lines = open ? (values ?? []).map(digits) : [key === "rates" && !reptile ? words.unlearned : words.cut];
      if (!open) draw("points", `${key} cross`, ...[0, 1].map((i) => [(corners[0][i] + corners[1][i]) / 2]), { colour: colours.text, shape: "cross", radius: 6, width: 2.5 });
      lines.forEach((line, k) => draw("text", `${key} ${k}`, x, y - 4 * k + 2 * (lines.length - 1), line, {}));
    };
    const last = reptile ? "distance" : "query", exact = method === "MAML" || learned;
    forth("to-support", 1, [42, 88], [42, 78]);
    forth("to-gradient", 2, [42, 66], [42, 56]);
    forth("to-phi", 3, [42, 44], [42, 34]);
    forth("skip", 3, [27, 92], [23, 92], [23, 30], [27, 30]);
    forth("from-alpha", 3, [80, 44], [80, 30], [65, 30]);
    forth("to-last", 4, [42, 22], [42, 12]);
    if (reptile) forth("aside", 4, [23, 30], [23, 8], [27, 8]);
    flow("arrive", 5, [[50, 12], [50, 22]], !reptile, numbers.arrive, [58, 15.5]);
    if (reptile) flow("straight", 6, [[27, 4], [19, 4], [19, 96], [27, 96]], true, numbers.straight, [9.5, 60]);
    else flow("straight", 6, [[27, 26], [19, 26], [19, 96], [27, 96]], true, numbers.straight, [9.5, 60]);
    flow("through-phi", 7, [[50, 34], [50, 44]], exact, null, [58, 37.5]);
    if (exact && stage >= 7) {
      draw("way", "through-gradient", [[50, 56], [50, 66]], { colour, width: 2.5 });
      flow("through", 7, [[50, 78], [50, 88]], true, numbers.through, [58, 81.5]);
    }
    flow("rates", 8, [[65, 25], [88, 25], [88, 44]], learned, numbers.rates, learned ? [94, 33] : [79, 19]);
    node("theta", "theta", 0);
    node("alpha", "alpha", 0);
    node("support", "support", 1);
    node("gradient", "gradient", 2);
    node("phi", "phi", 3);
    node("last", last, 4);
    for (const key of drawn) if (!now.has(key)) plot.remove(key);
    drawn = now;

    const sentence = /** @type {const} */ ([
      steps.given, steps.support, steps.gradient, steps.phi, reptile ? steps.distance : steps.query,
      reptile ? steps.stop : steps.arrive, reptile ? steps.pull : steps.straight,
      reptile ? steps.closed : exact ? steps.through : steps.lost, reptile ? steps.unasked : learned ? steps.rates : steps.fixed,
    ])[stage];
    frame.say(...marked(sentence, Object.fromEntries(Object.entries(numbers).map(([name, values]) => [name, said(values)]))));
  });
  return frame.close;
}

export default { render };
