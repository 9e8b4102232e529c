// A valley 1/2 theta' H theta of two parameters, and how three optimisers walk in it. What they do to
// the numbers is torch.optim's: tests/book/test_figure_valley.py holds each walk to it.

const MOMENTUM = 0.9, BETA_1 = 0.9, BETA_2 = 0.999, EPSILON = 1e-8; // torch's, and the chapter's
const PATIENCE = 1000; // how many steps to wait for one percent of the loss

/** The valley with curvatures 1 and `curvature`, its axes turned: [H11, H12, H22]. */
function valleyMatrix(curvature, degrees) {
  const turn = degrees * Math.PI / 180, c = Math.cos(turn), s = Math.sin(turn);
  if (degrees % 90 === 0) return degrees % 180 ? [curvature, 0, 1] : [1, 0, curvature];
  return [c * c + curvature * s * s, c * s * (1 - curvature), s * s + curvature * c * c];
}

/** The loss at a point. */
function valleyLoss([h11, h12, h22], [x, y]) {
  return 0.5 * (h11 * x * x + 2 * h12 * x * y + h22 * y * y);
}

/**
 * Walk from `start`. A walk that leaves the numbers ends early, with its last finite point.
 * @param {number[]} H what valleyMatrix returns
 * @param {"gradient descent"|"momentum"|"Adam"} optimizer
 * @param {number[]} alpha the rate of each coordinate; equal ones are one rate
 * @param {number[]} start
 * @param {number} steps
 * @returns {number[][]} up to steps + 1 points
 */
function valleyWalk([h11, h12, h22], optimizer, alpha, start, steps) {
  const path = [start], first = [0, 0], second = [0, 0];
  let theta = start;
  for (let t = 1; t <= steps; t++) {
    const [x, y] = theta, gradient = [h11 * x + h12 * y, h12 * x + h22 * y];
    theta = theta.map((value, i) => {
      const g = gradient[i];
      if (optimizer === "gradient descent") return value - alpha[i] * g;
      if (optimizer === "momentum") return value - alpha[i] * (first[i] = MOMENTUM * first[i] + g);
      first[i] = BETA_1 * first[i] + (1 - BETA_1) * g;
      second[i] = BETA_2 * second[i] + (1 - BETA_2) * g * g;
      const mean = first[i] / (1 - BETA_1 ** t), size = second[i] / (1 - BETA_2 ** t);
      return value - alpha[i] * mean / (Math.sqrt(size) + EPSILON);
    });
    if (!theta.every(Number.isFinite)) break;
    path.push(theta);
  }
  return path;
}

/**
 * What becomes of a long walk.
 * @param {number[]} losses of PATIENCE steps, or of fewer if the walk left the numbers
 * @returns {{word: "diverges"|"converges"|"creeps"|"swings", below: number}} `below`: the first step
 *   with less than one percent of the loss at the start, or -1
 */
function valleyFate(losses) {
  const [start] = losses, half = losses[PATIENCE / 2], end = losses.at(-1);
  const late = Math.max(...losses.slice(-100));
  const word = losses.length <= PATIENCE || end > start && end > half ? "diverges"
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
 * @param {object} state the traits by name
 * @returns {object} path and its relative losses, and the read-outs
 */
function walkOf(state) {
  const { optimizer, curvature, angle, start, steps } = state, one = state.rates === "one";
  const alpha = one ? [state.alpha, state.alpha] : [state.alpha_1, state.alpha_2];
  const H = valleyMatrix(curvature, angle), long = valleyWalk(H, optimizer, alpha, start, PATIENCE);
  const losses = long.map((point) => valleyLoss(H, point)), path = long.slice(0, steps + 1);
  const { word, below } = valleyFate(losses), first = losses[0];
  const far = Math.hypot(...start), landed = path.findIndex((p) => Math.hypot(...p) <= 1e-9 * far);
  const done = path.length > steps, count = `${steps} step${steps > 1 ? "s" : ""}`;
  const parts = losses.slice(0, steps + 1).map((loss) => first && loss / first);
  const verdict = first === 0 ? "the start is the bottom"
    : landed > 0 ? `at the bottom after ${landed} step${landed > 1 ? "s" : ""}`
    : { diverges: "diverges", converges: "converges", creeps: `still on its way after ${PATIENCE} steps`,
        swings: "swings on and comes no closer" }[word];
  return {
    path, parts,
    loss: done ? `${valleyNumber(losses[steps])}, ${valleyNumber(100 * parts[steps])} % of the start's` : "too large for a number",
    distance: done ? valleyNumber(Math.hypot(...path[steps])) : "too large for a number",
    reached: first === 0 ? "0 steps" : below >= 0 ? `${below} step${below > 1 ? "s" : ""}` : `not within ${PATIENCE} steps`,
    verdict,
    spoken: `${optimizer[0].toUpperCase()}${optimizer.slice(1)} with ${one ? "one rate" : "two rates"}, ${alpha.slice(0, one ? 1 : 2).map(valleyNumber).join(" and ")}; `
      + (done ? `${count}: the loss goes from ${valleyNumber(first)} to ${valleyNumber(losses[steps])}` : `${count}: the loss has left the numbers`)
      + `. In the long run: ${verdict}.`,
  };
}

/** Say in one sentence what is wrong with the state, or nothing. */
function valleyProblem(state) {
  const { optimizer, rates, start, steps } = state;
  const within = (value, low, high) => Number.isFinite(value) && value >= low && value <= high;
  if (!["gradient descent", "momentum", "Adam"].includes(optimizer)) return `There is no optimiser ${optimizer} here.`;
  if (rates !== "one" && rates !== "each") return `rates must be one or each, not ${rates}.`;
  for (const name of ["alpha", "alpha_1", "alpha_2"]) {
    if (!within(state[name], 0.001, 10)) return `${name} must be from 0.001 to 10, not ${state[name]}.`;
  }
  if (!within(steps, 1, 100) || steps % 1) return `steps must be a whole number from 1 to 100, not ${steps}.`;
  if (!within(state.curvature, 1, 100)) return `curvature must be from 1 to 100, not ${state.curvature}.`;
  if (!within(state.angle, -90, 90)) return `angle must be from -90 to 90, not ${state.angle}.`;
  const fits = Array.isArray(start) && start.length === 2 && within(start[0], -3, 3) && within(start[1], -1.8, 1.8);
  return fits ? "" : `start must lie within 3 and 1.8 of the bottom, not at ${start}.`;
}

/** Draw the figure and keep it up to date. */
function render({ model, el }) {
  const reach = [3, 1.8], floor = 1e-4, ceiling = 100;
  const names = ["optimizer", "rates", "alpha", "alpha_1", "alpha_2", "steps", "curvature", "angle", "start"];
  const stateOf = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const frame = createFrame(el, model, {
    title: "A walk down a valley, with one rate or two",
    goal: "With one rate, find the largest that does not diverge. With two, reach the bottom in one "
      + "step; drag the start and see whether it still does. Then turn the valley.",
    check: (link) => valleyProblem({ ...stateOf(), ...link }),
  });
  const map = createPlot(frame, {
    width: 560, height: 360, x: [-reach[0], reach[0]], y: [-reach[1], reach[1]],
    xlabel: "θ₁", ylabel: "θ₂", label: "The valley from above, with the walk",
  });
  const curve = createPlot(frame, {
    width: 560, height: 300, x: [0, model.get("steps")], y: [floor, ceiling], ylog: true,
    xlabel: "step", ylabel: "loss / first loss", label: "Loss against the step",
  });
  addSelect(frame, {
    trait: "optimizer", label: "optimiser",
    options: [["gradient descent", "gradient descent"], ["momentum", "momentum, β = 0.9"], ["Adam", "Adam"]],
  });
  addSelect(frame, {
    trait: "rates", label: "rates",
    options: [["one", "one for both"], ["each", "one for each"]],
  });
  const rate = { min: 0.001, max: 10, step: 0.01, digits: 3, log: true };
  addSlider(frame, { ...rate, trait: "alpha", label: "rate α" });
  addSlider(frame, { ...rate, trait: "alpha_1", label: "rate α₁" });
  addSlider(frame, { ...rate, trait: "alpha_2", label: "rate α₂" });
  addSlider(frame, { trait: "steps", label: "steps", min: 1, max: 100, step: 1 });
  addSlider(frame, { ...rate, trait: "curvature", label: "steep curvature", min: 1, max: 100 });
  addSlider(frame, { trait: "angle", label: "valley turned by", min: -90, max: 90, step: 1, unit: "°" });

  frame.onRedraw(() => {
    const state = stateOf();
    const problem = valleyProblem(state);
    if (problem) return frame.fail(problem);
    const { curvature, angle, steps, start } = state, one = state.rates === "one", shown = walkOf(state);
    for (const [name, used] of [["alpha", one], ["alpha_1", !one], ["alpha_2", !one]]) {
      frame.controls.querySelector(`[data-trait="${name}"]`).disabled = !used;
    }
    const colours = palette(), colour = state.optimizer === "momentum" ? colours.green
      : state.optimizer === "Adam" ? colours.orange : one ? colours.blue : colours.vermilion;
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
      x: start[0], y: start[1], label: "start of the walk", colour: colours.text,
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
    setReadout(frame, "loss", shown.loss, `loss after ${steps} step${steps > 1 ? "s" : ""}`);
    setReadout(frame, "distance", shown.distance, "distance to the bottom");
    setReadout(frame, "reached", shown.reached, "first below 1 % of the loss");
    setReadout(frame, "verdict", shown.verdict, "in the long run");
    frame.say(shown.spoken);
  });
  return frame.close;
}

export default { render };
