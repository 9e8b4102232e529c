// A valley 1/2 theta' H theta of two parameters, and how three optimisers walk in it. What they do to
// the numbers is torch.optim's: tests/book/test_figure_valley.py holds each walk to it.

/**
 * The valley with curvatures 1 and `curvature`, its axes turned: [H11, H12, H22].
 * @param {number} curvature
 * @param {number} degrees
 * @returns {[number, number, number]}
 */
function valleyMatrix(curvature, degrees) {
  const turn = degrees * Math.PI / 180, c = Math.cos(turn), s = Math.sin(turn);
  if (degrees % 90 === 0) return degrees % 180 ? [curvature, 0, 1] : [1, 0, curvature];
  return [c * c + curvature * s * s, c * s * (1 - curvature), s * s + curvature * c * c];
}

/**
 * The loss at a point.
 * @param {number[]} H
 * @param {number[]} point
 */
function valleyLoss([h11, h12, h22], [x, y]) {
  return 0.5 * (h11 * x * x + 2 * h12 * x * y + h22 * y * y);
}

/**
 * Walk from `start`. A walk that leaves the numbers ends early, with its last finite point.
 * @param {number[]} H what valleyMatrix returns
 * @param {string} optimizer one of VALLEY.optimizers, whose settings have torch's names
 * @param {number[]} alpha the rate of each coordinate; equal ones are one rate
 * @param {number[]} start
 * @param {number} steps
 * @returns {number[][]} up to steps + 1 points
 */
function valleyWalk([h11, h12, h22], optimizer, alpha, start, steps) {
  const { momentum = 0, betas, eps } = VALLEY.optimizers[optimizer];
  const path = [start], first = [0, 0], second = [0, 0];
  let theta = start;
  for (let t = 1; t <= steps; t++) {
    const [x, y] = theta, gradient = [h11 * x + h12 * y, h12 * x + h22 * y];
    theta = theta.map((value, i) => {
      const g = gradient[i];
      if (!betas) return value - alpha[i] * (first[i] = momentum * first[i] + g);
      const [beta1, beta2] = betas;
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      const mean = first[i] / (1 - beta1 ** t), size = second[i] / (1 - beta2 ** t);
      return value - alpha[i] * mean / (Math.sqrt(size) + eps);
    });
    if (!theta.every(Number.isFinite)) break;
    path.push(theta);
  }
  return path;
}

/**
 * What becomes of a long walk.
 * @param {number[]} losses of VALLEY.patience steps, or of fewer if the walk left the numbers
 * @returns {{word: "diverges"|"converges"|"creeps"|"swings", below: number}} `below`: the first step
 *   with less than one percent of the loss at the start, or -1
 */
function valleyFate(losses) {
  const { patience } = VALLEY, [start] = losses, half = losses[patience / 2], end = losses.at(-1);
  const late = Math.max(...losses.slice(-100));
  const word = losses.length <= patience || end > start && end > half ? "diverges"
    : late <= 0.01 * start ? "converges" : end < 0.9 * half ? "creeps" : "swings";
  return { word, below: losses.findIndex((loss) => loss <= 0.01 * start) };
}

/** A number for people: three digits, a power of ten where that is shorter. */
function valleyNumber(value) {
  if (value === 0 || value >= 0.001 && value < 1e5) return String(Number(value.toPrecision(3)));
  return value.toExponential(1);
}

/** The level line of sqrt(2 loss) = level, an ellipse with the valley's axes. */
function valleyContour(curvature, degrees, level) {
  const turn = degrees * Math.PI / 180, c = Math.cos(turn), s = Math.sin(turn), xs = [], ys = [];
  for (let i = 0; i <= 96; i++) {
    const along = level * Math.cos(i * Math.PI / 48);
    const up = level * Math.sin(i * Math.PI / 48) / Math.sqrt(curvature);
    xs.push(c * along - s * up);
    ys.push(s * along + c * up);
  }
  return { xs, ys };
}

/**
 * Walk as the state says, and put what came of it into words.
 * @param {any} state the traits by name
 */
function walkOf(state) {
  const { optimizer, rates, curvature, angle, start, steps: count } = state, { words, patience } = VALLEY;
  const alpha = rates === "one" ? [state.alpha, state.alpha] : [state.alpha_1, state.alpha_2];
  const H = valleyMatrix(curvature, angle), long = valleyWalk(H, optimizer, alpha, start, patience);
  const losses = long.map((point) => valleyLoss(H, point)), path = long.slice(0, count + 1);
  const { word, below } = valleyFate(losses), first = losses[0];
  const far = Math.hypot(...start), landed = path.findIndex((p) => Math.hypot(...p) <= 1e-9 * far);
  const done = path.length > count, parts = losses.slice(0, count + 1).map((loss) => first && loss / first);
  const verdict = first === 0 ? words.bottom
    : landed > 0 ? fill(words.landed, { count: landed }) : fill(words.fates[word], { patience });
  const [rate, second] = alpha.map(valleyNumber);
  return {
    path, parts, verdict, landed, word,
    distance: done ? valleyNumber(Math.hypot(...path[count])) : words.large,
    reached: below < 0 ? fill(words.unreached, { patience }) : fill(words.reached, { count: below }),
    spoken: marked(done ? words.walked : words.left, {
      count, first: valleyNumber(first), loss: valleyNumber(losses[count]), percent: valleyNumber(100 * parts[count]), verdict,
      walker: fill(words.walkers[rates][optimizer], { rate, second }),
    }),
  };
}

/** The name of the first trait that cannot be as it is, if there is one. */
function valleyProblem(state) {
  const { ranges, reach, optimizers, words } = VALLEY, within = (v, low, high) => Number.isFinite(v) && v >= low && v <= high;
  const rules = {
    optimizer: (v) => v in optimizers, rates: (v) => v in words.rates,
    start: (v) => Array.isArray(v) && v.length === 2 && v.every((part, i) => within(part, -reach[i], reach[i])),
  };
  for (const [name, [low, high]] of Object.entries(ranges)) rules[name] = (v) => within(v, low, high) && (name !== "steps" || v % 1 === 0);
  return Object.keys(rules).find((name) => !rules[name](state[name]));
}

/** Draw the figure and keep it up to date. */
function render({ model, el }) {
  const { reach, ranges, words } = VALLEY, floor = 1e-4, ceiling = 100;
  const names = ["optimizer", "rates", "start", ...Object.keys(ranges)];
  const stateOf = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const one = () => model.get("rates") === "one" && model.get("optimizer") === "gradient descent";
  const lands = () => !one() && model.get("steps") === 1 && shown.landed === 1;
  let shown = /** @type {any} */ ({}), from = "";
  const goals = [
    () => one() && shown.word !== "diverges" && model.get("alpha") * model.get("curvature") > 1.94,
    () => lands() && Boolean(from = String(model.get("start"))),
    () => lands() && String(model.get("start")) !== from,
    () => !one() && Math.abs(model.get("angle")) >= 30 && model.get("steps") === 1 && shown.landed !== 1,
  ].map((reached, k) => ({ text: words.goals[k], reached }));
  const frame = createFrame(el, model, {
    title: words.title, goals, fits: (link) => !valleyProblem({ ...stateOf(), ...link }),
  });
  const map = createPlot(frame, {
    width: 560, height: 360, x: [-reach[0], reach[0]], y: [-reach[1], reach[1]],
    xlabel: words.x, ylabel: words.y, label: words.map,
  });
  const curve = createPlot(frame, {
    width: 560, height: 220, x: [0, model.get("steps")], y: [floor, ceiling], ylog: true,
    xlabel: words.step, ylabel: words.share, label: words.curve,
  });
  addSelect(frame, VALLEY, "optimizer", Object.entries(words.optimizers));
  addSelect(frame, VALLEY, "rates", Object.entries(words.rates));
  const fine = { step: 0.01, digits: 3, log: true };
  for (const trait of ["alpha", "alpha_1", "alpha_2"]) addSlider(frame, VALLEY, trait, fine);
  addSlider(frame, VALLEY, "steps");
  addGroup(frame, words.valley);
  addSlider(frame, VALLEY, "curvature", fine);
  addSlider(frame, VALLEY, "angle");

  frame.onRedraw(() => {
    const state = stateOf();
    const problem = valleyProblem(state);
    if (problem) return frame.fail(fill(FRAME.words.impossible, { name: problem, value: state[problem] }));
    const { curvature, angle, steps, start } = state, single = state.rates === "one";
    shown = walkOf(state);
    for (const [name, used] of /** @type {const} */ ([["alpha", single], ["alpha_1", !single], ["alpha_2", !single]])) {
      showRow(frame, name, used);
    }
    const colours = palette(), colour = state.optimizer === "momentum" ? colours.green
      : state.optimizer === "Adam" ? colours.orange : single ? colours.blue : colours.vermilion;
    for (let k = 1; k <= 10; k++) { // evenly spaced in the root of the loss, as in the chapter
      const { xs, ys } = valleyContour(curvature, angle, 0.6 * k);
      map.curve(`contour ${k}`, xs, ys, { colour: colours.grey, width: 0.8, opacity: 0.85 });
    }
    const far = shown.path.findIndex((p) => Math.hypot(...p) > 100);
    const near = far < 0 ? shown.path : shown.path.slice(0, far); // nothing further is on the map
    if (far > 0) near.push(shown.path[far].map((v) => 100 * v / Math.hypot(...shown.path[far])));
    const [xs, ys] = [0, 1].map((i) => near.map((point) => point[i]));
    map.points("bottom", [0], [0], { colour: colours.text, radius: 6, shape: "cross" });
    map.curve("walk", xs, ys, { colour, width: 2 });
    map.points("steps", xs.slice(1), ys.slice(1), { colour, radius: 3.5 });
    map.handle("start", {
      x: start[0], y: start[1], label: words.start, colour: colours.text,
      onMove(x, y) {
        frame.set({ start: [x, y].map((v, i) => Math.max(-reach[i], Math.min(reach[i], v))) });
      },
    });
    curve.setDomain({ x: [0, steps] });
    const high = shown.parts.findIndex((part) => part > ceiling); // the curve ends where it leaves
    const parts = (high < 0 ? shown.parts : shown.parts.slice(0, high + 1))
      .map((part) => Math.max(floor, Math.min(ceiling, part)));
    const at = parts.map((_, step) => step);
    curve.curve("percent", [0, steps], [0.01, 0.01], { colour: colours.grey, width: 1, dash: "4 4" });
    curve.curve("loss", at, parts, { colour, width: 2 });
    curve.points("losses", at, parts, { colour, radius: steps > 40 ? 2 : 3.5 });
    for (const [name, label] of Object.entries(words.readouts)) setReadout(frame, name, shown[name], fill(label, { count: steps }));
    frame.say(...shown.spoken);
  });
  return frame.close;
}

export default { render };
