// One curve of the family and its support points, in the reader's hand: what the figures on sines share.

const [SINE_LOW, SINE_HIGH, SINE_COUNT] = SINUSOID.grid;
const SINE_GRID = Float64Array.from({ length: SINE_COUNT },
  (_, i) => SINE_LOW + i * (SINE_HIGH - SINE_LOW) / (SINE_COUNT - 1));

/** The i-th number that a seed draws from a range, to two digits. */
function sineDrawn(seed, i, [low, high]) {
  return Math.round(100 * (low + (high - low) * mulberry(seed, i))) / 100;
}

/** So many points of a curve, as a seed gives them: the first ones, or others from its place `from` on. */
function sinePoints(task, seed, count = 5, from = 2) {
  return Array.from({ length: count }, (_, i) => sineDrawn(seed, from + i, [SINE_LOW, SINE_HIGH]))
    .map((x) => [x, sineAt(task, x)]);
}

/** A curve of that frequency, and five of its points, as a seed gives them. */
function sineTask(seed, frequency) {
  const { amplitude, phase } = SINUSOID.family;
  const task = { amplitude: sineDrawn(seed, 0, amplitude), phase: sineDrawn(seed, 1, phase), frequency };
  return { ...task, points: sinePoints(task, seed) };
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
  return error <= SINUSOID.limit ? String(Number(error.toPrecision(3))) : SINUSOID.words.diverged;
}

/** A prediction as the picture can bear it: what is far outside stays outside. */
function sineClip(y) {
  return Math.max(-100, Math.min(100, y));
}

/** What the figure says about one start, for the eye and for the ear: for `say`. */
function sineStory(name, path, count, prefix = "") {
  const { words, limit } = SINUSOID, [first, last] = [path[0].error, path[count].error];
  const sentence = count === 0 ? words.unadapted : !(first <= limit) ? words.lost
    : !(last <= limit) ? words.diverges : last <= first ? words.falls : words.grows;
  return marked(sentence, { name, count, before: sineError(first), after: sineError(last) }, prefix);
}

/** The middle of the widest gap between points, walls included. */
function sineGap(xs) {
  const walls = [SINE_LOW, ...[...xs].sort((a, b) => a - b), SINE_HIGH];
  let widest = 1;
  for (let i = 2; i < walls.length; i++) {
    if (walls[i] - walls[i - 1] > walls[widest] - walls[widest - 1]) widest = i;
  }
  return Math.round(50 * (walls[widest] + walls[widest - 1])) / 100;
}

/** Whether the points and steps of a linked state can be. */
function sineFits({ points = [[0, 0]], steps = 0 }) {
  const [least, most] = SINUSOID.points;
  return Number.isInteger(steps) && points.length >= least && points.length <= most &&
    points.every((point) => point.length === 2 && point.every(Number.isFinite));
}

/**
 * The controls of a task, in groups, and its points on `plot`, to drag, to add and to remove.
 * @returns read() the task as the reader has set it; draw(plot, kind, key, ...) what finish() removes
 *   when the next redraw leaves it out; adapted(side, path, style) a start before and after its steps
 */
function addSineTask(frame, plot, grouped = true) {
  const { model } = frame, { words } = SINUSOID, [least, most] = SINUSOID.points;
  const curve = () => ({
    amplitude: model.get("amplitude"), frequency: model.get("frequency"), phase: model.get("phase"),
  });
  addSlider(frame, SINUSOID, "steps", { digits: 0 });
  if (grouped) addGroup(frame, words.curve);
  for (const trait of ["amplitude", "phase", "frequency"]) addSlider(frame, SINUSOID, trait, { step: 0.01, digits: 2 });
  addSeed(frame, SINUSOID);
  const bar = element("div", { class: "mf-buttons" });
  plot.box.append(bar);
  addButton(frame, words.renew, () => {
    const seed = model.get("seed") + 1;
    frame.set({ seed, ...sineTask(seed, model.get("frequency")), on_curve: true });
  }, bar);
  if (grouped) addGroup(frame, words.points);
  addCheckbox(frame, SINUSOID, "on_curve");

  let last = -1; // the point that was moved last is the one to remove
  const move = (i) => (x, y) => {
    last = i;
    frame.set({ points: model.get("points").map((point, j) => (j === i ? [x, y] : point)) });
  };
  const add = (point) => {
    const points = model.get("points");
    if (points.length >= most) return frame.note(fill(words.most, { count: most }));
    last = points.length;
    frame.set({ points: [...points, point] });
  };
  const remove = (i) => {
    const points = model.get("points");
    if (points.length <= least) return frame.note(words.least);
    last = -1;
    frame.set({ points: points.filter((_, j) => j !== i) });
  };
  addButton(frame, words.add, () => add([sineGap(model.get("points").map(([x]) => x)), 0]), frame.rows);
  addButton(frame, words.remove, () => {
    const final = model.get("points").length - 1;
    remove(last >= 0 && last <= final ? last : final);
  }, frame.rows);
  plot.svg.addEventListener("dblclick", (event) => {
    if (event.target.closest(".mf-handle")) return;
    const place = placeIn(plot.svg, event);
    const { x, y } = plot.domain, [left, low] = plot.pixel(x[0], y[0]), [right, high] = plot.pixel(x[1], y[1]);
    add([x[0] + (x[1] - x[0]) * (place.x - left) / (right - left),
      y[0] + (y[1] - y[0]) * (place.y - low) / (high - low)]);
  });
  // By the reader's hand only: a restored state has points of its own.
  const byHand = (trait, act) =>
    frame.controls.querySelector(`[data-trait="${trait}"]`).addEventListener("change", act);
  byHand("seed", () => frame.set({ ...sineTask(model.get("seed"), model.get("frequency")), on_curve: true }));
  byHand("on_curve", () => {
    const task = curve();
    if (!model.get("on_curve")) {
      frame.set({ points: model.get("points").map(([x]) => [x, sineAt(task, x)]) });
    }
  });

  let drawn = new Map(), now, state; // key -> the plot it is on
  const sketch = {
    bar, curve,
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
          x, y, label: fill(words.point, { number: i + 1 }), colour: palette().text, onMove: move(i),
        });
        node.onkeydown = ({ key }) => (key === "Delete" || key === "Backspace") && remove(i);
      });
      for (const [key, on] of drawn) if (!now.has(key)) on.remove(key);
      drawn = now;
    },
  };
  return sketch;
}
