// Twenty walks of a spring, and what one update on them can know. The gradient is that of
// metasgd_core.policy_gradient: tests/book/test_figure_twentywalks.py holds all numbers to it.

/** Standard normal numbers from a seed, by Box and Muller. */
function walkNormals(seed, count) {
  return Float64Array.from({ length: count }, (_, i) => {
    const far = Math.sqrt(-2 * Math.log(mulberry(seed, i - i % 2))), turn = 2 * Math.PI * mulberry(seed, i - i % 2 + 1);
    return far * (i % 2 ? Math.sin(turn) : Math.cos(turn));
  });
}

/**
 * Walks from the middle that no goal ends: the place after step t of walk i in row t * walks + i.
 * @param {{pull: number, noise: number}} spring
 * @param {ArrayLike<number>} shaken normal numbers, two a row
 * @param {number[]} v what the mean velocity has besides the pull
 */
function walksOf({ pull, noise }, shaken, v = [0, 0]) {
  const { walks, horizon, reach } = TWENTYWALKS, places = new Float64Array(2 * walks * horizon), row = 2 * walks;
  for (let k = 0; k < places.length; k++) {
    const from = k < row ? 0 : places[k - row], velocity = v[k % 2] - pull * from + noise * shaken[k];
    places[k] = from + Math.max(-reach, Math.min(reach, velocity));
  }
  return places;
}

/** How far each place is from a goal, and after how many steps each walk ends there. */
function walksTo(goal, places) {
  const { walks, horizon, arrived } = TWENTYWALKS, distance = new Float64Array(walks * horizon);
  const lengths = new Int32Array(walks).fill(horizon);
  for (let row = walks * horizon - 1; row >= 0; row--) {
    const x = places[2 * row] - goal[0], y = places[2 * row + 1] - goal[1];
    distance[row] = Math.sqrt(x * x + y * y); // Math.hypot is slower
    if (distance[row] < arrived) lengths[row % walks] = Math.floor(row / walks) + 1;
  }
  return { distance, lengths };
}

/** How one update with alpha = 1 changes v. */
function walkChange({ noise, reward, advantages }, goal, places, shaken) {
  const { walks, horizon, reach, discount } = TWENTYWALKS, { distance, lengths } = walksTo(goal, places);
  const normalised = advantages === "normalised", paid = distance.map((d) => (reward === "distance" ? -d : -d * d));
  const run = { count: walks, steps: horizon, lengths, reward: paid };
  const advantage = advantagesOf(run, discount, normalised); // 0 after a walk has ended
  const over = normalised ? lengths.reduce((sum, n) => sum + n, 0) : walks;
  return [0, 1].map((axis) => {
    let sum = 0;
    for (let row = 0; row < advantage.length; row++) sum += advantage[row] * shaken[2 * row + axis];
    return reach * reach * sum / noise / over;
  });
}

/** Minus the distance, summed over the steps, a mean over the walks. */
function walkReturn(goal, places) {
  const { walks } = TWENTYWALKS, { distance, lengths } = walksTo(goal, places);
  let sum = 0;
  for (let row = 0; row < distance.length; row++) if (row < lengths[row % walks] * walks) sum -= distance[row];
  return sum / walks;
}

/** The spread of walks along an axis, a mean over the steps after the 20th. */
function walkWidth(places) {
  const { walks, horizon } = TWENTYWALKS, from = 19;
  let total = 0;
  for (let t = from; t < horizon - 1; t++) {
    for (const axis of [0, 1]) {
      const row = Array.from({ length: walks }, (_, i) => places[2 * (t * walks + i) + axis]);
      const mean = row.reduce((sum, p) => sum + p, 0) / walks;
      total += Math.sqrt(row.reduce((sum, p) => sum + (p - mean) ** 2, 0) / (walks - 1));
    }
  }
  return total / (2 * (horizon - 1 - from));
}

const walkKept = { seed: NaN, before: /** @type {Float64Array[]} */ ([]), after: new Float64Array() };

/** The normal numbers of a seed: of each goal's walks before its update, the reader's last; of those after any. */
function walkChances(seed) {
  if (walkKept.seed === seed) return walkKept;
  const { walks, horizon, places } = TWENTYWALKS, size = 2 * walks * horizon, goals = places.length ** 2 + 1;
  const normal = walkNormals(seed, (goals + 1) * size), block = (k) => normal.subarray(k * size, (k + 1) * size);
  return Object.assign(walkKept, { seed, before: Array.from({ length: goals }, (_, k) => block(k)), after: block(goals) });
}

/** What the updates of a spring tell, for goals all over the square: see twentywalks.Told. */
function walksTold(state) {
  const chances = walkChances(state.seed), at = TWENTYWALKS.places, goals = at.flatMap((x) => at.map((y) => [x, y]));
  const before = goals.map((_, k) => walksOf(state, chances.before[k]));
  const changes = goals.map((goal, k) => walkChange(state, goal, before[k], chances.before[k]));
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1], sum = (numbers) => numbers.reduce((all, one) => all + one, 0);
  const alpha = sum(changes.map((change, k) => dot(change, goals[k]) * state.pull)) / sum(changes.map((change) => dot(change, change)));
  const rests = changes.map((change) => change.map((part) => alpha * part / state.pull));
  const there = goals.flatMap((goal, k) => (dot(goal, goal) ? [k] : []));
  const xs = there.map((k) => Math.hypot(...goals[k])), ys = there.map((k) => dot(rests[k], goals[k]) / Math.hypot(...goals[k]));
  const [x, y] = [xs, ys].map((numbers) => sum(numbers) / numbers.length);
  const slope = sum(xs.map((one, k) => (one - x) * (ys[k] - y))) / sum(xs.map((one) => (one - x) ** 2));
  const returns = goals.map((goal, k) => walkReturn(goal, walksOf(state, chances.after, changes[k].map((part) => alpha * part))));
  const width = walkWidth(walksOf(state, chances.before[goals.length]));
  return { alpha, rests, xs, ys, place: 10 * slope * x / y, width, returns };
}

/** Draw the figure and keep it up to date. */
function render({ model, el }) {
  const { words, ranges, rewards, advantages, edge, walks, horizon, goal: marks } = TWENTYWALKS;
  const names = ["pull", "noise", "reward", "advantages", "goal", "seed"];
  const stateOf = () => /** @type {any} */ (Object.fromEntries(names.map((name) => [name, model.get(name)])));
  const fits = ({ goal = [0, 0] }) => goal.length === 2 && goal.every((v) => Math.abs(v) <= edge);
  const published = () => model.get("reward") === "distance" && model.get("advantages") === "normalised";
  let told = /** @type {any} */ (null), made = "", mean = -Infinity;
  const frame = createFrame(el, model, {
    title: words.title, summary: words.summary, fits,
    goals: [
      { text: fill(words.goals.place, { place: marks.place }), reached: () => published() && told.place >= marks.place },
      { text: fill(words.goals.direction, { direction: minus(marks.direction, 0) }), reached: () => published() && mean > marks.direction },
      { text: fill(words.goals.both, { both: minus(marks.both, 0) }), reached: () => mean > marks.both },
    ],
  });
  const map = createPlot(frame, {
    width: 420, height: 400, x: [-0.7, 0.7], y: [-0.7, 0.7], xlabel: words.x, ylabel: words.y, label: words.map,
  });
  const chart = createPlot(frame, {
    width: 420, height: 230, x: [0, 0.75], y: [-0.1, 0.8], xlabel: words.far, ylabel: words.along, label: words.rests,
  });
  const fine = { step: 0.02, digits: 2, log: true };
  addSlider(frame, TWENTYWALKS, "pull", fine);
  addSlider(frame, TWENTYWALKS, "noise", fine);
  addSelect(frame, TWENTYWALKS, "reward", rewards.map((one) => [one, words.rewards[one]]));
  addSelect(frame, TWENTYWALKS, "advantages", advantages.map((one) => [one, words.advantages[one]]));
  addSeed(frame, TWENTYWALKS);
  addButton(frame, words.renew, () => frame.set({ seed: (model.get("seed") + 1) % (ranges.seed[1] + 1) }));

  /** One broken line for the first walks, each to where it ends. */
  function lines(places, lengths, count) {
    const xs = [], ys = [];
    for (let i = 0; i < count; i++) {
      xs.push(0);
      ys.push(0);
      for (let t = 0; t < lengths[i]; t++) {
        xs.push(places[2 * (t * walks + i)]);
        ys.push(places[2 * (t * walks + i) + 1]);
      }
      xs.push(NaN);
      ys.push(NaN);
    }
    return /** @type {const} */ ([xs, ys]);
  }

  frame.onRedraw(() => {
    const state = stateOf(), key = JSON.stringify({ ...state, goal: null }), { goal } = state, colours = palette();
    if (key !== made) [told, made] = [walksTold(state), key];
    mean = told.returns.reduce((sum, one) => sum + one, 0) / told.returns.length;
    const chances = walkChances(state.seed), own = chances.before[told.returns.length], before = walksOf(state, own);
    const v = walkChange(state, goal, before, own).map((part) => told.alpha * part);
    const after = walksOf(state, chances.after, v), away = Math.hypot(...goal);
    const rest = v.map((part) => part / state.pull), along = away ? (rest[0] * goal[0] + rest[1] * goal[1]) / away : 0;
    map.curve("before", ...lines(before, new Int32Array(walks).fill(horizon), walks), { colour: colours.grey, width: 0.7, opacity: 0.6 });
    map.curve("after", ...lines(after, walksTo(goal, after).lengths, 8), { colour: colours.blue, width: 1 });
    map.points("rest", [rest[0]], [rest[1]], { colour: colours.text, shape: "cross", radius: 6 });
    map.handle("goal", {
      x: goal[0], y: goal[1], label: words.goal, colour: colours.vermilion,
      onMove: (...to) => frame.set({ goal: to.map((value) => Math.max(-edge, Math.min(edge, value))) }),
    });
    map.legend([
      { label: words.names.before, colour: colours.grey }, { label: words.names.after, colour: colours.blue },
    ]);
    chart.curve("place", [0, 0.8], [0, 0.8], { colour: colours.grey, width: 1.5, dash: "5 4" });
    chart.points("told", told.xs, told.ys, { colour: colours.blue, radius: 3.5 });
    chart.points("own", [away], [along], { colour: colours.vermilion, radius: 5 });
    chart.legend([{ label: words.names.place, colour: colours.grey, dash: "5 4" }]);
    frame.say(...marked(words.said, {
      width: told.width.toFixed(3), away: away.toFixed(2), rest: minus(along, 2), own: minus(walkReturn(goal, after), 1),
      place: minus(told.place, 1), mean: minus(mean, 1),
    }));
  });
  return frame.close;
}

/** A number with the sign that print has. */
function minus(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

export default { render };
