// A CartPole that plays in the page. The step is gymnasium's, the gradient is that of
// metasgd_core.policy_gradient; tests/book/test_parity_cartpole.py holds both to the originals.

const CART = {
  step: 0.02, edge: 2.4, lean: (12 * 2 * Math.PI) / 360, // s, m, rad: as CartPole-v1 has them
  start: 0.05, horizon: 500, discount: 0.99, rounding: 1e-4, // as metasgd_core has them
  episodes: 10, updates: 3, training: 30, seen: [1, 1, 5, 1],
};
// In the order of their bytes: a stored notebook sorts the names of an object.
const CART_STARTS = ["random", "MAML", "Meta-SGD", "joint"];
const PHYSICS = ["length", "masspole", "masscart", "force", "gravity"];

/**
 * The state 0.02 s later (Euler's method, as in gymnasium).
 * @param {{length: number, masspole: number, masscart: number, force: number, gravity: number}} task
 * @param {ArrayLike<number>} state position (m), velocity (m/s), angle (rad), spin (rad/s)
 * @param {0|1} action 1 pushes with the force, 0 against it
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
 * @param {object} task physics and side
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
 * Each step's advantage: its return-to-go, less the mean of the other episodes still playing, then
 * shifted and scaled to mean 0 and standard deviation 1 over all steps; 0 where none was taken.
 * @returns {Float64Array} in rows as the episodes have them
 */
function cartAdvantages({ count, steps, lengths, reward }) {
  const returns = new Float64Array(steps * count), advantage = new Float64Array(steps * count);
  let largest = 0, taken = 0, sum = 0, squares = 0;
  for (let t = steps - 1; t >= 0; t--) {
    for (let i = 0; i < count; i++) {
      const later = t + 1 < steps ? returns[(t + 1) * count + i] : 0;
      returns[t * count + i] = t < lengths[i] ? reward[t * count + i] + CART.discount * later : 0;
      largest = Math.max(largest, Math.abs(returns[t * count + i]));
    }
  }
  const each = (act) => {
    for (let t = 0; t < steps; t++) {
      for (let i = 0; i < count; i++) if (t < lengths[i]) act(t * count + i, t);
    }
  };
  each((row, t) => {
    let others = 0, playing = 0;
    for (let j = 0; j < count; j++) {
      const other = t * count + j;
      if (other !== row && t < lengths[j]) { others += returns[other]; playing++; }
    }
    advantage[row] = returns[row] - others / Math.max(playing, 1);
    sum += advantage[row];
    taken++;
  });
  each((row) => { squares += (advantage[row] -= sum / taken) ** 2; });
  const spread = Math.sqrt(squares / taken);
  each((row) => { advantage[row] = spread > CART.rounding * largest ? advantage[row] / spread : 0; });
  return advantage;
}

/**
 * The gradient of the surrogate loss by theta: minus the mean over all steps of
 * advantage * gradient of log pi(action).
 * @returns {Float64Array}
 */
function policyGradient(net, theta, run) {
  const advantage = cartAdvantages(run), rows = [];
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

/** Whether nothing was trained before and every step pays: the CartPole that everybody knows. */
function cartIsPlain(get) {
  return get("start") === "random" && get("side") === 0;
}

/** The one sentence that says what is wrong with the state, or undefined. */
function cartComplaint(get) {
  const start = get("start"), most = start === "random" ? CART.training : CART.updates;
  if (!CART_STARTS.includes(start)) return `There is no start ${start} here.`;
  const positive = ["length", "masspole", "masscart"];
  const wrong = PHYSICS.find((name) => !Number.isFinite(get(name)) ||
    (positive.includes(name) && get(name) <= 0));
  if (wrong) return `A CartPole cannot have ${wrong} = ${get(wrong)}.`;
  const whole = { updates: most, seed: 2 ** 31 - 1, episode: 1e6, step: CART.horizon };
  for (const [name, most] of Object.entries(whole)) {
    if (!Number.isInteger(get(name)) || get(name) < 0 || get(name) > most) {
      return `${name} must be a whole number from 0 to ${most}, got ${get(name)}.`;
    }
  }
  if (![1, -1, 0].includes(get("side"))) return `The side must be 1, -1 or 0, got ${get("side")}.`;
  const state = get("state"), tasks = get("history");
  if (![0, 4].includes(state.length) || !state.every(Number.isFinite)) {
    return "The cart's state must be empty or four finite numbers.";
  }
  const possible = (task) => task.length === 7 && task.every(Number.isFinite) &&
    task.slice(0, 3).every((v) => v > 0);
  if (tasks.length > most || !tasks.every(possible)) {
    return `The steps taken must be up to ${most} tasks of seven finite numbers.`;
  }
}

/** An SVG element at the end of another. */
function cartPart(parent, name, attributes) {
  const part = svgNode(name, attributes);
  parent.append(part);
  return part;
}

/**
 * The cart with its pole, to scale; it can be dragged, or pushed by arrow keys.
 * @param {HTMLElement} stage where it is put
 * @param {(speed: number) => void} push called with what is added to the velocity, in m/s
 * @returns {{draw: (view: {state: number[], length: number, side: number, quiet: boolean}) => void,
 *   buttons: HTMLElement}} and a row below it for buttons
 */
function createCart(stage, push) {
  const ground = 208, middle = 280;
  const box = element("div", { class: "mf-plot", style: "flex-basis: 100%; max-width: 560px" });
  stage.append(box);
  const svg = cartPart(box, "svg", { viewBox: "0 0 560 262", role: "group",
    "aria-label": "The cart on its track, seen from the side" });
  const bright = cartPart(svg, "rect", { y: 8, height: 220, opacity: 0.18, "data-key": "side" });
  const word = cartPart(svg, "text", { y: 28, "text-anchor": "middle", style: "font-size: 20px" });
  const rail = cartPart(svg, "path", { fill: "none", "stroke-width": 2 });
  const ends = cartPart(svg, "path", { fill: "none", "stroke-width": 2, "stroke-dasharray": "6 4" });
  const marks = [-2, -1, 0, 1, 2].map((at) => cartPart(svg, "text", { y: 258, style: "font-size: 18px",
    "text-anchor": "middle" }));
  const cart = cartPart(svg, "g", { tabindex: 0, role: "slider", "aria-valuemin": -CART.edge,
    "aria-valuemax": CART.edge, "aria-label": "Cart: push it with the arrow keys, or drag it",
    "data-lm-suppress-shortcuts": "true", "data-key": "cart" });
  cart.style.cursor = "grab";
  cartPart(cart, "rect", { x: -45, width: 90, y: -20, height: 60, fill: "transparent" }); // for thumbs
  const leans = cartPart(cart, "path", { fill: "none", "stroke-dasharray": "2 4" });
  const body = cartPart(cart, "rect", { x: -30, width: 60, y: 0, height: 30, rx: 3 });
  const pole = cartPart(cart, "line", { x1: 0, y1: 0, "stroke-width": 7,
    "stroke-linecap": "round", "data-key": "pole" });
  const speed = cartPart(cart, "path", { fill: "none", "stroke-width": 3, "data-key": "velocity" });
  let scale = 100;
  makeDraggable(cart, svg, {
    onDrag(to, from) {
      const metres = (to.x - from.x) / scale;
      if (metres) push(2 * metres); // half a metre of the hand gives one metre a second
    },
    onKey(across, _, shift) {
      if (across) push(across * (shift ? 1 : 0.2));
      return across !== 0;
    },
  });
  const draw = ({ state: [x, velocity, angle], length, side, quiet }) => {
    const colour = palette();
    scale = Math.min(100, 165 / (2 * length));
    const edge = CART.edge * scale, tip = 2 * length * scale;
    bright.setAttribute("x", middle - (side < 0 ? edge : 0));
    bright.setAttribute("width", side ? edge : 0);
    bright.setAttribute("fill", colour.green);
    word.setAttribute("x", middle + side * edge / 2);
    word.textContent = side ? "pays" : "";
    rail.setAttribute("d", `M0 ${ground + 15}H560`);
    rail.setAttribute("stroke", colour.grey);
    ends.setAttribute("d", `M${middle - edge} 8V228M${middle + edge} 8V228`);
    ends.setAttribute("stroke", colour.text);
    marks.forEach((mark, i) => {
      mark.setAttribute("x", middle + (i - 2) * scale);
      mark.textContent = i % 2 && scale < 40 ? "" : `${i - 2}${i === 4 ? " m" : ""}`;
    });
    cart.setAttribute("transform", `translate(${middle + x * scale} ${ground})`);
    if (!quiet) { // a film would be read out picture by picture
      cart.setAttribute("aria-valuenow", x.toFixed(2));
      cart.setAttribute("aria-valuetext", `${x.toFixed(2)} m, ${velocity.toFixed(2)} m/s`);
    }
    const at = (a) => `${tip * Math.sin(a)} ${-tip * Math.cos(a)}`;
    leans.setAttribute("d", `M${at(-CART.lean)}L0 0L${at(CART.lean)}`);
    leans.setAttribute("stroke", colour.grey);
    body.setAttribute("fill", colour.blue);
    pole.setAttribute("x2", tip * Math.sin(angle));
    pole.setAttribute("y2", -tip * Math.cos(angle));
    pole.setAttribute("stroke", colour.vermilion);
    const way = Math.max(-200, Math.min(200, 60 * velocity)), head = 6 * Math.sign(way);
    speed.setAttribute("d", Math.abs(way) < 3 ? "" :
      `M0 15h${way}m${-head} -6l${head} 6l${-head} 6`);
    speed.setAttribute("stroke", colour.orange);
  };
  const buttons = element("div", { class: "mf-buttons", style: "margin: 0.4rem 0" });
  box.append(buttons);
  return { draw, buttons };
}

/** Draw the figure and keep it up to date. */
function render({ model, el }) {
  const get = (name) => model.get(name), net = makeNetwork([4, 64, 2], "tanh");
  const plain = cartIsPlain(get), most = plain ? CART.training : CART.updates;
  const frame = createFrame(el, model, {
    title: plain ? "A policy that learns to balance" : "A CartPole that finds out which side pays",
    goal: plain
      ? "Take one step after the other: how many until the pole stands for 450 of 500? Then make " +
        "the cart heavy, so that it falls. Do more steps bring it back?"
      : "Pick the side that pays; the policy is not told. Let it collect ten episodes and take " +
        "one step: does it find the side? Then change the physics until the adapted policy lets " +
        "the pole fall.",
    check: (state) => {
      const linked = (name) => state[name] ?? get(name);
      return cartComplaint(linked) || (plain && !cartIsPlain(linked));
    },
  });
  let starts;
  try {
    starts = storedStarts(net, get("_weights"), CART_STARTS, get("_rates"));
  } catch (error) {
    return frame.fail(`This figure cannot be drawn: ${error.message}.`);
  }
  const { draw, buttons } = createCart(frame.stage, push);
  const paths = createPlot(frame, { width: 560, height: 260, x: [0, CART.horizon], y: [-0.6, 0.6],
    xlabel: "step (0.02 s each)", ylabel: "position in m",
    label: "Position of the cart in ten fresh episodes of the policy, and in the one you see" });
  const bars = createPlot(frame, { width: 560, height: 220, x: [-0.1 * most, 1.1 * most],
    y: [0, 560], xlabel: "steps, on ten episodes each", ylabel: "return",
    label: "Mean return of ten episodes against the number of steps" });

  const film = (label, onClick) => addButton(frame, { label, onClick, parent: buttons });
  const play = film("Play", () => (playing ? pause() : resume()));
  film("Single step", () => { pause(); advance(); save(); });
  film("New episode", () => { pause(); renew(); save(); });
  film("Push left", () => push(-0.5));
  film("Push right", () => push(0.5));
  if (!plain) {
    addSelect(frame, { trait: "side", label: "the side that pays",
      options: [[1, "right"], [-1, "left"], [0, "both: every step pays"]] });
  }
  addButton(frame, { label: "Collect 10 episodes, take one step", onClick: takeStep });
  addSlider(frame, { trait: "updates", label: `${plain ? "" : "inner "}steps of the policy that plays`,
    min: 0, max: most, step: 1 });
  if (!plain) {
    addSelect(frame, { trait: "start", label: "initialisation",
      options: CART_STARTS.map((name) => [name, name === "joint" ? "joint, fine-tuned" : name]) });
  }
  const slider = (trait, label, unit, min, max, step, more) =>
    addSlider(frame, { trait, label, unit, min, max, step, ...more });
  slider("speed", "speed of the film", "×", 0.1, 4, 0.1, { digits: 1 });
  slider("length", "half the pole's length", "m", 0.1, 4, 0.01, { log: true });
  slider("masspole", "mass of the pole", "kg", 0.02, 2, 0.01, { log: true });
  slider("masscart", "mass of the cart", "kg", 0.2, 5, 0.01, { log: true });
  slider("force", "force", "N", 1, 30, 0.5, { digits: 1 });
  slider("gravity", "gravity", "m/s²", 0, 30, 0.1, { digits: 1 });
  if (!plain) addCheckbox(frame, { trait: "swapped", label: "left and right swapped" });
  addCheckbox(frame, { trait: "greedy", label: "the likelier action, not a drawn one" });
  addSeed(frame, { trait: "seed" });

  let playing = false, last = 0, seen = 0, due = 0, timer = 0, frameId = 0, alive = true;
  let chain = [], scores = new Map(), job = null, trace = [], shown = "", mine = "";

  /** Set traits without sending them to Python: `save` does, where the film rests. */
  function put(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    mine = place();
  }
  function place() {
    return JSON.stringify([get("episode"), get("step"), get("state")]);
  }
  function save() {
    model.save_changes();
  }
  function task() {
    const physics = Object.fromEntries(PHYSICS.map((name) => [name, get(name)]));
    return { ...physics, force: get("swapped") ? -physics.force : physics.force, side: get("side") };
  }

  /**
   * Theta after k of the steps taken, or undefined where the time is up before. Each is played and
   * taken again only if its past changed.
   */
  function thetaAfter(k, until = Infinity) {
    const { theta, alpha } = starts[get("start")], tasks = get("history");
    for (let i = 0; i <= k; i++) {
      const key = get("start") + (i ? tasks[i - 1] : "");
      if (chain[i]?.key === key) continue;
      if (performance.now() > until) return;
      chain.length = i;
      if (!i) { chain.push({ key, theta }); continue; }
      const [length, masspole, masscart, force, gravity, side, seed] = tasks[i - 1];
      const run = beginEpisodes({ length, masspole, masscart, force, gravity, side },
        cartStream(seed, i), CART.episodes);
      playEpisodes(run, net, chain[i - 1].theta, false);
      chain.push({ key, theta: policyStep(net, chain[i - 1].theta, alpha, run), earned: meanReturn(run) });
    }
    return chain[k].theta;
  }
  function present() {
    const { side, ...physics } = task();
    return [...PHYSICS.map((name) => physics[name]), side, get("seed")];
  }
  function takeStep() {
    const from = Math.min(get("updates"), most - 1);
    put({ history: [...get("history").slice(0, from), present()], updates: from + 1 });
    save();
  }

  function where() {
    const state = get("state");
    return state.length ? state : cartStart(cartStream(get("seed"), 10 + get("episode")));
  }
  function over() {
    return get("step") >= CART.horizon || cartFell(where());
  }
  function renew() {
    trace = [];
    put({ episode: get("episode") + 1, step: 0, earned: 0, state: [] });
  }
  function advance() {
    if (over()) renew();
    const state = where(), step = get("step");
    const stream = cartStream(get("seed"), 10 + get("episode"));
    const chance = get("greedy") ? 0.5 : mulberry(stream, 4 + step);
    const [logit] = cartLogits(net, thetaAfter(get("updates")), state);
    const after = stepCart(task(), state, Number(1 / (1 + Math.exp(-logit)) > chance));
    put({ state: after, step: step + 1, earned: get("earned") + cartReward(task(), after) });
    trace.push([step + 1, after[0]]);
  }
  function push(change) {
    if (over()) return;
    const [x, velocity, angle, spin] = where();
    put({ state: [x, velocity + change, angle, spin] });
    if (!playing) save();
    show();
  }
  function resume() {
    if (over()) renew();
    playing = true;
    play.textContent = "Pause";
    last = performance.now();
    due = 0;
    frameId = requestAnimationFrame(tick);
  }
  function pause() {
    if (!playing) return;
    playing = false;
    play.textContent = "Play";
    cancelAnimationFrame(frameId);
    if (alive) show();
    save();
  }
  function tick(now) {
    if (!playing) return;
    if (!thetaAfter(get("updates"), performance.now() + 4)) last = now; // it is still learning
    due += (Math.min(Math.max(now - last, 0), 100) / 1000) * get("speed") / CART.step;
    last = now;
    while (due >= 1 && !over()) { advance(); due -= 1; }
    if (over()) pause();
    show();
    if (playing) frameId = requestAnimationFrame(tick);
  }

  /** The cart, its numbers, and its way so far. */
  function show() {
    // Who wants less motion sees two pictures of the film a second.
    if (playing && prefersReducedMotion() && performance.now() - seen < 500) return;
    seen = performance.now();
    const [x, v, angle, spin] = where(), fallen = cartFell([x, v, angle, spin]);
    draw({ state: [x, v, angle, spin], length: get("length"), side: get("side"), quiet: playing });
    const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
    setReadout(frame, "cart", `step ${get("step")} of ${CART.horizon}` +
      `${fallen ? ", the pole fell or the track ended" : ""}; earned ${get("earned")}; ` +
      `position ${signed(x, 2)} m, velocity ${signed(v, 2)} m/s, ` +
      `angle ${signed(angle * 180 / Math.PI, 1)}°, turning ${signed(spin, 2)} rad/s`, "Cart");
    if (trace.length && trace.at(-1)[0] !== get("step")) trace = [];
    paths.curve("played", trace.map(([t]) => t), trace.map(([, at]) => at),
      { colour: palette().black, width: 2.5 });
  }

  /** The policy's colour: its start's; in the plain figure that of the chapter's drawn actions. */
  function ink() {
    return plain ? palette().blue : methodColour(get("start"));
  }
  function scoreKey(k) {
    return JSON.stringify([get("start"), get("history").slice(0, k), present(), get("greedy")]);
  }
  /**
   * Play ten fresh episodes of each policy on show, a few milliseconds at a time. In the plain figure
   * that is one: how good the others were, the episodes tell that they learned from. (The last of
   * them taught nobody, and has no point in the picture while another plays.)
   */
  function work() {
    timer = 0;
    const until = performance.now() + 4, count = get("history").length;
    const todo = plain ? [get("updates")] : [get("updates"), ...get("history").keys(), count];
    for (;;) {
      const k = todo.find((i) => !scores.has(scoreKey(i))), theta = thetaAfter(k ?? count, until);
      if (!theta) break;
      if (k === undefined) return result();
      const key = scoreKey(k);
      if (job?.key !== key) {
        job = { key, run: beginEpisodes(task(), cartStream(get("seed"), 0), CART.episodes) };
      }
      while (performance.now() < until) {
        if (playEpisodes(job.run, net, theta, get("greedy"), 10)) {
          const { lengths, observation } = job.run, width = job.run.count, all = [...lengths.keys()];
          const lines = all.map((i) => Array.from({ length: Math.ceil(lengths[i] / 5) },
            (_, t) => observation[4 * (5 * t * width + i)]));
          const places = all.flatMap((i) => Array.from({ length: lengths[i] },
            (_, t) => observation[4 * (t * width + i)]));
          const right = places.filter((at) => at > 0).length / places.length;
          scores.set(key, { mean: meanReturn(job.run), lines, right,
            held: places.length / width });
          break;
        }
      }
      if (performance.now() >= until) break;
    }
    timer = setTimeout(work);
  }
  /** All is scored: the pictures, the numbers and the sentence. */
  function result() {
    const now = get("updates"), count = get("history").length, colour = palette();
    const { mean, right, held, lines } = scores.get(scoreKey(now)), shade = ink();
    const xs = Array.from({ length: count + 1 }, (_, k) => k);
    const means = xs.map((k) =>
      (k === now ? mean : plain ? chain[k + 1]?.earned : scores.get(scoreKey(k)).mean));
    const far = Math.max(...lines.flat().map(Math.abs));
    paths.setDomain({ y: far < 0.6 ? [-0.6, 0.6] : [-2.5, 2.5] });
    for (let i = 0; i < CART.episodes; i++) {
      paths.curve(`fresh-${i}`, lines[i].map((_, t) => 5 * t), lines[i],
        { colour: shade, width: 1 });
    }
    paths.remove("played");
    show(); // over the others
    bars.curve("returns", xs, means, { colour: shade, width: 2 });
    bars.points("returns-points", xs, means, { colour: shade, radius: 5 });
    bars.points("now", [now], [mean], { colour: colour.black, radius: 7 });
    const name = (k) => `${k} step${k === 1 ? "" : "s"}`;
    setReadout(frame, "return", `${mean.toFixed(1)} of ${CART.horizon} after ${name(now)}`,
      "Return of ten fresh episodes");
    if (!plain) {
      setReadout(frame, "balance", `${held.toFixed(1)} steps`, "The pole stood for");
      setReadout(frame, "right", `${(100 * right).toFixed(0)} % of the time`, "On the right");
      setReadout(frame, "returns", means.map((m, k) => `${name(k)}: ${m.toFixed(0)}`).join(" · "),
        "Return, step by step");
    }
    frame.root.setAttribute("aria-busy", "false");
    const first = now ? `, before any step ${means[0].toFixed(0)}` : "";
    const where = plain ? "" : `; ${(100 * right).toFixed(0)} % of the time on the right`;
    frame.say(`Ten fresh episodes after ${name(now)}: return ${mean.toFixed(0)} of ` +
      `${CART.horizon}${first}${where}.`);
  }

  /** Bring everything in line with the traits. */
  function refresh() {
    if (!alive) return;
    const complaint = cartComplaint(get);
    if (complaint) {
      alive = false;
      pause();
      frame.fail(complaint);
      return;
    }
    if (playing && place() !== mine) pause(); // Reset, a link, or Python
    if (get("history").length < get("updates")) {
      const missing = Array(get("updates") - get("history").length).fill(present());
      put({ history: [...get("history"), ...missing] });
      save();
    }
    show();
    const colour = palette();
    const key = [get("start"), get("updates"), get("history"), present(), get("greedy"), colour.text];
    if (shown === (shown = JSON.stringify(key))) return;
    const side = get("side"), all = [0, CART.horizon], far = [2.5, 2.5];
    const rows = (way) => far.map((v) => Math.max(0, way * v));
    if (side) paths.area("side", all, rows(-side).map((v) => -v), rows(side), { colour: colour.green });
    else paths.remove("side");
    const bound = { colour: colour.grey, dash: "5 4" }, shade = ink();
    if (side) bars.curve("bound", bars.domain.x, [250, 250], bound);
    else bars.remove("bound");
    paths.legend([{ label: "ten fresh episodes", colour: shade },
      { label: "the episode you see", colour: colour.black },
      ...(side ? [{ label: "the side that pays", colour: colour.green }] : [])]);
    bars.legend([{ label: plain ? "the ten episodes that each step learned from" : "mean return", colour: shade },
      ...(plain ? [{ label: "ten fresh ones of the policy that plays", colour: colour.black }] : []),
      ...(side ? [{ label: "bound without adapting, mean of both sides", ...bound }] : [])]);
    if (scores.size > 60) scores = new Map();
    frame.root.setAttribute("aria-busy", "true");
    clearTimeout(timer);
    timer = setTimeout(work);
  }

  frame.onRedraw(refresh);
  return () => {
    alive = playing = false;
    clearTimeout(timer);
    cancelAnimationFrame(frameId);
    frame.close();
  };
}

export default { render };
