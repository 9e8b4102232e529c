// A CartPole, and a policy that learns to balance it: no word and no picture. The step is gymnasium's,
// the gradient is that of metasgd_core.policy_gradient; tests/book/test_parity_cartpole.py holds both
// to the originals.

/**
 * The state 0.02 s later (Euler's method, as in gymnasium).
 * @param {Record<string, number>} task length, masspole, masscart, force, gravity
 * @param {number[]} state position (m), velocity (m/s), angle (rad), spin (rad/s)
 * @param {number} action 1 pushes with the force, 0 against it
 * @returns {number[]}
 */
function stepCart(task, [position, velocity, angle, spin], action) {
  const { length, masspole, masscart, gravity } = task, total = masspole + masscart;
  const moment = masspole * length, cos = Math.cos(angle), sin = Math.sin(angle);
  const temp = ((action ? task.force : -task.force) + moment * (spin * spin) * sin) / total;
  const angular = (gravity * sin - cos * temp) /
    (length * (4 / 3 - (masspole * (cos * cos)) / total));
  const linear = temp - (moment * angular * cos) / total;
  return [position + CART.step * velocity, velocity + CART.step * linear,
    angle + CART.step * spin, spin + CART.step * angular];
}

/** Whether the cart has left the track or the pole has fallen. */
function cartFell(state) {
  return !(Math.abs(state[0]) <= CART.edge && Math.abs(state[2]) <= CART.lean);
}

/** What the step into this state brought: with a side, 1 only if the pole stands on that side. */
function cartReward(task, after) {
  return task.side ? Number(!cartFell(after) && task.side * after[0] > 0) : 1;
}

/** The seed of one purpose's own sequence: a number of the seed's sequence, as a whole number. */
function cartStream(seed, purpose) {
  return Math.floor(mulberry(seed, purpose) * 2 ** 32) | 0;
}

/** Where the episode begins whose four numbers start at the place `from` of a sequence. */
function cartStart(stream, from = 0) {
  return [0, 1, 2, 3].map((i) => CART.start * (2 * mulberry(stream, from + i) - 1));
}

/** How much the policy prefers action 1, for each state: the logit of its probability. */
function cartLogits(net, theta, states) {
  const seen = Float64Array.from(states, (value, i) => value * CART.seen[i % 4]);
  const both = forward(net, theta, seen);
  return Float64Array.from({ length: both.length / 2 }, (_, i) => both[2 * i + 1] - both[2 * i]);
}

/**
 * Episodes of one task that have yet to be played; `playEpisodes` plays them on. What step t of
 * episode i saw stands in row t * count + i.
 * @param {Record<string, number>} task physics and side
 * @param {number} stream seed of the starts and of the policy's chances
 * @param {number} count how many episodes
 */
function beginEpisodes(task, stream, count, horizon = CART.horizon) {
  return {
    task, stream, count, horizon, steps: 0, lengths: new Int32Array(count),
    observation: new Float64Array(horizon * count * 4),
    action: new Uint8Array(horizon * count), reward: new Float64Array(horizon * count),
    playing: Array.from({ length: count }, (_, i) => [i, cartStart(stream, 4 * i)]),
  };
}

/**
 * Play all episodes on, side by side, by at most `limit` steps.
 * @returns {boolean} whether all have ended
 */
function playEpisodes(run, net, theta, greedy, limit = Infinity) {
  const { task, count, stream } = run;
  for (; limit > 0 && run.steps < run.horizon && run.playing.length; limit--, run.steps++) {
    const logits = cartLogits(net, theta, run.playing.flatMap(([, state]) => state));
    run.playing = run.playing.filter((episode, k) => {
      const [i, state] = episode, row = run.steps * count + i;
      const chance = greedy ? 0.5 : mulberry(stream, 4 * count + row);
      const action = Number(1 / (1 + Math.exp(-logits[k])) > chance);
      episode[1] = stepCart(task, state, action);
      run.observation.set(state, 4 * row);
      run.action[row] = action;
      run.reward[row] = cartReward(task, episode[1]);
      run.lengths[i] = run.steps + 1;
      return !cartFell(episode[1]);
    });
  }
  return run.steps === run.horizon || !run.playing.length;
}

/** The mean return of played episodes. */
function meanReturn(run) {
  return run.reward.reduce((sum, r) => sum + r, 0) / run.count;
}

/**
 * The gradient of the surrogate loss by theta: minus the mean over all steps of
 * advantage * gradient of log pi(action).
 * @returns {Float64Array}
 */
function policyGradient(net, theta, run) {
  const advantage = advantagesOf(run, CART.discount), rows = [];
  for (let row = 0; row < run.steps * run.count; row++) {
    if (Math.floor(row / run.count) < run.lengths[row % run.count]) rows.push(row);
  }
  const states = new Float64Array(rows.length * 4), pull = new Float64Array(rows.length * 2);
  rows.forEach((row, k) => states.set(run.observation.subarray(4 * row, 4 * row + 4), 4 * k));
  const seen = states.map((value, i) => value * CART.seen[i % 4]);
  const values = traceLayers(net, theta, seen), both = values.at(-1);
  rows.forEach((row, k) => {
    const right = 1 / (1 + Math.exp(both[2 * k] - both[2 * k + 1]));
    pull[2 * k] = (advantage[row] * (run.action[row] - right)) / rows.length;
    pull[2 * k + 1] = -pull[2 * k];
  });
  return backward(net, theta, seen, pull, values);
}

/** One inner step: theta - alpha * gradient, with a rate for each number. */
function policyStep(net, theta, alpha, run) {
  const gradient = policyGradient(net, theta, run);
  return theta.map((p, i) => p - alpha[i] * gradient[i]);
}
