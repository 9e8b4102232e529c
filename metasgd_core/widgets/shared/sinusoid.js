// One curve of the family and its support points, in the reader's hand: what the figures on sines share.

const SINE_GRID = Float64Array.from({ length: 61 }, (_, i) => -5 + i / 6);
const SINE_MOST = 20; // points
const SINE_LIMIT = 1e6; // an error beyond it is said in words

/** A curve of the family, and five of its points, as a seed gives them. */
function sineTask(seed) {
  const hundredth = (value) => Math.round(100 * value) / 100;
  const amplitude = hundredth(0.1 + 4.9 * mulberry(seed, 0)), phase = hundredth(Math.PI * mulberry(seed, 1));
  const task = { amplitude, phase, frequency: 1 };
  const points = Array.from({ length: 5 }, (_, i) => hundredth(10 * mulberry(seed, 2 + i) - 5))
    .map((x) => [x, sineAt(task, x)]);
  return { ...task, points };
}

function sineAt({ amplitude, frequency, phase }, x) {
  return amplitude * Math.sin(frequency * x + phase);
}

function meanSquare(predictions, targets) {
  return predictions.reduce((sum, p, i) => sum + (p - targets[i]) ** 2, 0) / targets.length;
}

/** Everything the figure shows of one start: curves and errors after 0, 1, ... 10 steps. */
function sineAdapt(net, { theta, alpha }, xs, ys, truth) {
  return adaptSteps(net, theta, alpha, xs, ys, 10).map((phi) => {
    const curve = forward(net, phi, SINE_GRID), at = forward(net, phi, xs);
    const support = meanSquare(at, ys);
    return { curve, at, support, error: truth ? meanSquare(curve, truth) : support };
  });
}

/** An error in words and digits. */
function sineError(error) {
  return error <= SINE_LIMIT ? String(Number(error.toPrecision(3))) : "diverged";
}

/** A prediction as the picture can bear it: what is far outside stays outside. */
function sineClip(y) {
  return Math.max(-100, Math.min(100, y));
}

/** What a row of the figure says about one start, for the eye and for the ear. */
function sineStory(name, path, steps) {
  const before = sineError(path[0].error), after = sineError(path[steps].error);
  if (steps === 0) return `${name}, not yet adapted: error ${before}.`;
  const many = `${name}, ${steps} step${steps > 1 ? "s" : ""}`;
  if (before === "diverged") return `${many}: the error is beyond all measure, before and after.`;
  if (after === "diverged") return `${many}: it has diverged; the error was ${before}.`;
  const falls = path[steps].error <= path[0].error ? "falls" : "grows";
  return `${many}: error ${falls} from ${before} to ${after}.`;
}

/** The middle of the widest gap between points, walls included. */
function sineGap(xs) {
  const walls = [-5, ...[...xs].sort((a, b) => a - b), 5];
  let widest = 1;
  for (let i = 2; i < walls.length; i++) {
    if (walls[i] - walls[i - 1] > walls[widest] - walls[widest - 1]) widest = i;
  }
  return Math.round(50 * (walls[widest] + walls[widest - 1])) / 100;
}

/** What is wrong with the points of a linked state, if anything. */
function sineCheck({ points = [[0, 0]], steps = 0 }) {
  if (!Number.isInteger(steps)) return "steps must be a whole number";
  const good = points.length >= 1 && points.length <= SINE_MOST &&
    points.every((point) => point.length === 2 && point.every(Number.isFinite));
  return good ? "" : `there must be 1 to ${SINE_MOST} points`;
}

/**
 * The controls of a task, and its points on `plot`, to drag, to add and to remove.
 * @returns read() the task as the reader has set it; draw(plot, kind, key, ...) what finish() removes
 *   when the next redraw leaves it out; adapted(side, path, style) a start before and after its steps
 */
function addSineTask(frame, plot) {
  const { model } = frame;
  const curve = () => Object.fromEntries(
    ["amplitude", "frequency", "phase"].map((name) => [name, model.get(name)]));
  addSlider(frame, { trait: "steps", label: "Inner steps", min: 0, max: 10, step: 1, digits: 0 });
  addSlider(frame, { trait: "amplitude", label: "Amplitude", min: 0.1, max: 6, step: 0.01, digits: 2 });
  addSlider(frame, {
    trait: "phase", label: "Phase", min: 0, max: 6.28, step: 0.01, digits: 2, unit: "rad",
  });
  addSlider(frame, {
    trait: "frequency", label: "Frequency", min: 0.2, max: 3, step: 0.01, digits: 2,
    unit: "rad/unit",
  });
  addCheckbox(frame, { trait: "on_curve", label: "Points lie on the sine" });

  let last = -1; // the point that was moved last is the one to remove
  const move = (i) => (x, y) => {
    last = i;
    frame.set({ points: model.get("points").map((point, j) => (j === i ? [x, y] : point)) });
  };
  const add = (point) => {
    const points = model.get("points");
    if (points.length >= SINE_MOST) return frame.note(`${SINE_MOST} points are the most.`);
    last = points.length;
    frame.set({ points: [...points, point] });
  };
  const remove = (i) => {
    const points = model.get("points");
    if (points.length === 1) return frame.note("One point must stay.");
    last = -1;
    frame.set({ points: points.filter((_, j) => j !== i) });
  };
  addButton(frame, {
    label: "Add a point", parent: frame.buttons,
    onClick: () => add([sineGap(model.get("points").map(([x]) => x)), 0]),
  });
  addButton(frame, {
    label: "Remove a point", parent: frame.buttons,
    onClick: () => {
      const final = model.get("points").length - 1;
      remove(last >= 0 && last <= final ? last : final);
    },
  });
  plot.svg.addEventListener("dblclick", (event) => {
    if (event.target.closest(".mf-handle")) return;
    const place = placeIn(plot.svg, event);
    const { x, y } = plot.domain, [left, low] = plot.pixel(x[0], y[0]), [right, high] = plot.pixel(x[1], y[1]);
    add([x[0] + (x[1] - x[0]) * (place.x - left) / (right - left),
      y[0] + (y[1] - y[0]) * (place.y - low) / (high - low)]);
  });
  addButton(frame, {
    label: "New curve", parent: frame.buttons,
    onClick: () => {
      const seed = model.get("seed") + 1;
      frame.set({ seed, ...sineTask(seed), on_curve: true });
    },
  });
  addSeed(frame, { trait: "seed" });
  // By the reader's hand only: a restored state has points of its own.
  const byHand = (trait, act) =>
    frame.controls.querySelector(`[data-trait="${trait}"]`).addEventListener("change", act);
  byHand("seed", () => frame.set({ ...sineTask(model.get("seed")), on_curve: true }));
  byHand("on_curve", () => {
    const task = curve();
    if (!model.get("on_curve")) {
      frame.set({ points: model.get("points").map(([x]) => [x, sineAt(task, x)]) });
    }
  });

  let drawn = new Map(), now, state; // key -> the plot it is on
  const sketch = {
    read() {
      const task = curve(), onCurve = model.get("on_curve");
      const points = model.get("points").map(([x, y]) => [x, onCurve ? sineAt(task, x) : y]);
      now = new Map();
      state = {
        points, xs: points.map(([x]) => x), ys: points.map(([, y]) => y), steps: model.get("steps"),
        truth: onCurve ? SINE_GRID.map((x) => sineAt(task, x)) : null,
      };
      if (state.truth) sketch.draw(plot, "curve", "truth", SINE_GRID, state.truth, { colour: palette().text, width: 1.2 });
      return state;
    },
    draw(on, kind, key, ...rest) {
      now.set(key, on);
      return on[kind](key, ...rest);
    },
    adapted(side, path, { colour, dash = "", shift = 0 }) {
      const { steps, points } = state;
      sketch.draw(plot, "curve", `${side} start`, SINE_GRID, path[0].curve.map(sineClip), { colour, width: 1.2, dash: "2 4" });
      sketch.draw(plot, "curve", side, SINE_GRID, path[steps].curve.map(sineClip), { colour, width: 2.5, dash });
      points.forEach(([x], i) => {
        const [from, to] = [path[Math.max(0, steps - 1)].at[i], path[steps].at[i]].map(sineClip);
        if (steps && Number.isFinite(from) && Number.isFinite(to)) {
          sketch.draw(plot, "arrow", `${side} arrow ${i}`, x + shift, from, x + shift, to, { colour });
        }
      });
    },
    finish() {
      state.points.forEach(([x, y], i) => {
        const node = sketch.draw(plot, "handle", `point ${i}`, {
          x, y, label: `Support point ${i + 1}`, colour: palette().text, onMove: move(i),
        });
        node.onkeydown = ({ key }) => (key === "Delete" || key === "Backspace") && remove(i);
      });
      for (const [key, on] of drawn) if (!now.has(key)) on.remove(key);
      drawn = now;
    },
  };
  return sketch;
}
