// Points on a sine: what the figures share whose support points are dragged along one, with one of them chosen.

const [POINTS_LOW, POINTS_HIGH, POINTS_COUNT] = POINTS.grid;
const POINTS_GRID = Float64Array.from({ length: POINTS_COUNT },
  (_, i) => POINTS_LOW + i * (POINTS_HIGH - POINTS_LOW) / (POINTS_COUNT - 1));

function pointFits(x) {
  return x >= POINTS_LOW && x <= POINTS_HIGH;
}

/** Whether the points of a link can be, and the chosen one. */
function pointsFit({ points = [0], chosen = 0 }) {
  const [least, most] = POINTS.count;
  return points.length >= least && points.length <= most && Number.isInteger(chosen) && chosen >= 0 && chosen < most
    && points.every(pointFits);
}

/** The nearest x that can be a point's. */
function pointWithin(x) {
  return Math.max(POINTS_LOW, Math.min(POINTS_HIGH, x));
}

/**
 * Add the curve's sliders, buttons for a point more or less, and to `plot` the curve and its points.
 * @returns a function that draws them as they stand: `goal` is the curve on the grid
 */
function addPoints(frame, plot) {
  const { model } = frame, { words, count: [least, most] } = POINTS;
  for (const trait of ["amplitude", "phase"]) addSlider(frame, POINTS, trait, { step: 0.01, digits: 2 });
  const change = (points, chosen) => frame.set({ points, chosen });
  addButton(frame, words.add, () => {
    const points = model.get("points");
    if (points.length >= most) return frame.note(fill(words.most, { count: most }));
    const walls = [POINTS_LOW, ...[...points].sort((a, b) => a - b), POINTS_HIGH];
    const [, left] = walls.slice(1).map((x, i) => [x - walls[i], i]).reduce((a, b) => (b[0] > a[0] ? b : a));
    change([...points, (walls[left] + walls[left + 1]) / 2], points.length);
  });
  addButton(frame, words.remove, () => {
    const points = model.get("points"), chosen = model.get("chosen");
    if (points.length <= least) return frame.note(words.least);
    change(points.filter((_, i) => i !== chosen), Math.min(chosen, points.length - 2));
  });

  let drawn = 0;
  return () => {
    const colours = palette(), xs = model.get("points"), count = xs.length, chosen = Math.min(model.get("chosen"), count - 1);
    const [A, b] = ["amplitude", "phase"].map((trait) => model.get(trait));
    const truth = (x) => A * Math.sin(x + b), ys = xs.map(truth), goal = POINTS_GRID.map(truth);
    plot.curve("truth", POINTS_GRID, goal, { colour: colours.grey, width: 2 });
    xs.forEach((x, i) => plot.handle(`point ${i}`, {
      x, y: ys[i], label: fill(words.point, { number: i + 1 }), colour: i === chosen ? colours.orange : colours.text,
      onMove: (to) => frame.set({ points: model.get("points").map((old, j) => (j === i ? pointWithin(to) : old)), chosen: i }),
    }));
    for (let i = count; i < drawn; i++) plot.remove(`point ${i}`);
    drawn = count;
    return { xs, ys, count, chosen, goal };
  };
}

/** The mean squared error of a curve on the grid. */
function pointsError(curve, goal) {
  return curve.reduce((sum, y, i) => sum + (y - goal[i]) ** 2, 0) / POINTS_COUNT;
}

/** A curve on the grid, cut where a picture would not hold it. */
function pointsShown(curve) {
  return curve.map((y) => Math.max(-100, Math.min(100, y)));
}
