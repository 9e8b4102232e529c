// A CartPole that plays in the page: what is seen of cart.js, and what the reader can do to it.

/** Whether nothing was trained before and every step pays: the CartPole that everybody knows. */
function cartIsPlain(get) {
  return get("start") === "random" && get("side") === 0;
}

/** The name of the first trait that cannot be as it is, if there is one. */
function cartProblem(get) {
  const { starts, updates, training, ranges } = CARTPOLE, most = get("start") === "random" ? training : updates;
  const finite = (values, count) => values.length === count && values.every(Number.isFinite);
  const whole = ([low, high]) => (v) => Number.isInteger(v) && v >= low && v <= high;
  const rules = {
    start: (v) => starts.includes(v), side: (v) => [1, -1, 0].includes(v), state: (v) => !v.length || finite(v, 4),
    updates: whole([0, most]), seed: whole(ranges.seed), episode: whole(ranges.episode), step: whole(ranges.step),
    history: (v) => v.length <= most && v.every((task) => finite(task, 7) && task.slice(0, 3).every((part) => part > 0)),
  };
  CART.physics.forEach((name, k) => { rules[name] = (v) => Number.isFinite(v) && (k > 2 || v > 0); });
  return Object.keys(rules).find((name) => !rules[name](get(name)));
}

/** Give an SVG element attributes, and the words in it. */
function cartPaint(node, attributes, text) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
}

/**
 * The cart with its pole, to scale; it can be dragged, or pushed by arrow keys.
 * @param {HTMLElement} stage where it is put
 * @param {(speed: number) => void} push called with what is added to the velocity, in m/s
 * @returns {{draw: (view: {state: number[], length: number, side: number, quiet: boolean}) => void,
 *   buttons: HTMLElement}} and a row below it for buttons
 */
function createCart(stage, push) {
  const { words } = CARTPOLE, ground = 208, middle = 280;
  const box = element("div", { class: "mf-plot" }), buttons = element("div", { class: "mf-buttons" });
  const svg = svgNode("svg", { viewBox: "0 0 560 262", style: "max-width: 560px", role: "group", "aria-label": words.picture });
  const add = (name, attributes, parent = svg) => {
    const part = svgNode(name, { fill: "none", ...attributes });
    parent.append(part);
    return part;
  };
  box.append(svg, buttons);
  stage.append(box);
  const bright = add("rect", { y: 8, height: 220, opacity: 0.18, "data-key": "side" });
  const word = add("text", { y: 28, "text-anchor": "middle", style: "font-size: 20px" });
  const rail = add("path", { d: `M0 ${ground + 15}H560`, "stroke-width": 2 });
  const ends = add("path", { "stroke-width": 2, "stroke-dasharray": "6 4" });
  const marks = [-2, -1, 0, 1, 2].map(() => add("text", { y: 258, style: "font-size: 18px", "text-anchor": "middle" }));
  const cart = add("g", {
    tabindex: 0, role: "slider", "aria-valuemin": -CART.edge, "aria-valuemax": CART.edge, "aria-label": words.cart,
    "data-lm-suppress-shortcuts": "true", "data-key": "cart", style: "cursor: grab",
  });
  add("rect", { x: -45, width: 90, y: -20, height: 60, fill: "transparent" }, cart); // for thumbs
  const leans = add("path", { "stroke-dasharray": "2 4" }, cart);
  const body = add("rect", { x: -30, width: 60, y: 0, height: 30, rx: 3 }, cart);
  const pole = add("line", { x1: 0, y1: 0, "stroke-width": 7, "stroke-linecap": "round", "data-key": "pole" }, cart);
  const speed = add("path", { "stroke-width": 3, "data-key": "velocity" }, cart);
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
  const draw = ({ state, length, side, quiet }) => {
    const colour = palette(), [x, velocity, angle] = state;
    scale = Math.min(100, 165 / (2 * length));
    const edge = CART.edge * scale, tip = 2 * length * scale, at = (a) => `${tip * Math.sin(a)} ${-tip * Math.cos(a)}`;
    cartPaint(bright, { x: middle - (side < 0 ? edge : 0), width: side ? edge : 0, fill: colour.green });
    cartPaint(word, { x: middle + side * edge / 2 }, side ? words.pays : "");
    cartPaint(rail, { stroke: colour.grey });
    cartPaint(ends, { d: `M${middle - edge} 8V228M${middle + edge} 8V228`, stroke: colour.text });
    marks.forEach((mark, i) => cartPaint(mark, { x: middle + (i - 2) * scale },
      i % 2 && scale < 40 ? "" : i === 4 ? fill(words.metres, { place: i - 2 }) : String(i - 2)));
    cartPaint(cart, { transform: `translate(${middle + x * scale} ${ground})` });
    if (!quiet) { // a film would be read out picture by picture
      const place = x.toFixed(2);
      cartPaint(cart, { "aria-valuenow": place, "aria-valuetext": fill(words.moving, { place, speed: velocity.toFixed(2) }) });
    }
    cartPaint(leans, { d: `M${at(-CART.lean)}L0 0L${at(CART.lean)}`, stroke: colour.grey });
    cartPaint(body, { fill: colour.blue });
    cartPaint(pole, { x2: tip * Math.sin(angle), y2: -tip * Math.cos(angle), stroke: colour.vermilion });
    const way = Math.max(-200, Math.min(200, 60 * velocity)), head = 6 * Math.sign(way);
    cartPaint(speed, { d: Math.abs(way) < 3 ? "" : `M0 15h${way}m${-head} -6l${head} 6l${-head} 6`, stroke: colour.orange });
  };
  return { draw, buttons };
}

/** Draw the figure and keep it up to date. */
function render({ model, el }) {
  const get = (name) => model.get(name), net = makeNetwork([4, 64, 2], "tanh"), { horizon } = CART, end = horizon * CART.step;
  const { words } = CARTPOLE, plain = cartIsPlain(get), most = plain ? CARTPOLE.training : CARTPOLE.updates;
  const chain = [], first = get("side"), keep = element("input", { type: "checkbox" });
  let playing = false, last = 0, seen = 0, due = 0, timer = 0, frameId = 0, alive = true;
  let scores = new Map(), job = /** @type {any} */ (null), trace = [], shown = "", mine = "", now = /** @type {any} */ (null);
  const heavy = () => get("masscart") >= 4 && now;
  const found = () => get("updates") === 1 && now?.mean > 450;
  const reached = plain
    ? [() => now?.mean >= 450, () => heavy()?.mean < 300, () => heavy()?.mean > 350]
    : [found, () => get("side") === -first && found(), () => keep.checked && get("updates") > 0 && now?.held < 490,
      () => get("start") === "joint" && get("updates") > 0 && now?.mean < 100];
  const { title, goals } = plain ? words.plain : words;
  const frame = createFrame(el, model, {
    title, goals: reached.map((one, k) => ({ text: goals[k], reached: one })),
    fits(state) {
      const linked = (name) => state[name] ?? get(name);
      return !cartProblem(linked) && (!plain || cartIsPlain(linked));
    },
  });
  let starts;
  try {
    starts = storedStarts(net, get("_weights"), CARTPOLE.starts, get("_rates"));
  } catch (error) {
    return frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
  }
  const { draw, buttons } = createCart(frame.stage, push);
  const paths = createPlot(frame, { height: 200, x: [0, end], y: [-0.6, 0.6], xlabel: words.time, ylabel: words.position, label: words.paths });
  const bars = createPlot(frame, { height: 180, x: [-0.1 * most, 1.1 * most], y: [0, 560], xlabel: words.steps, ylabel: words.return, label: words.returns });

  const film = (label, onClick) => addButton(frame, label, onClick, buttons);
  const play = film(words.play, () => (playing ? pause() : resume()));
  film(words.single, () => { pause(); advance(); save(); });
  film(words.renew, () => { pause(); renew(); save(); });
  film(words.left, () => push(-0.5));
  film(words.right, () => push(0.5));
  if (!plain) {
    addSelect(frame, CARTPOLE, "side", [1, -1, 0].map((side) => [side, words.sides[side]]));
    addSelect(frame, CARTPOLE, "start", CARTPOLE.starts.map((name) => [name, words.starts[name]]));
  }
  addButton(frame, words.collect, takeStep, frame.rows);
  const { updates, training } = words.controls;
  addSlider(frame, { ranges: { updates: [0, most] }, words: { controls: { updates: plain ? training : updates } } }, "updates");
  addGroup(frame, words.physics);
  for (const trait of ["length", "masspole", "masscart"]) addSlider(frame, CARTPOLE, trait, { step: 0.01, log: true });
  addSlider(frame, CARTPOLE, "force", { step: 0.5, digits: 1 });
  addSlider(frame, CARTPOLE, "gravity", { step: 0.1, digits: 1 });
  if (!plain) {
    addCheckbox(frame, CARTPOLE, "swapped");
    addRow(frame, "keep", words.keep, keep);
  }
  addGroup(frame, words.film, false);
  addSlider(frame, CARTPOLE, "speed", { step: 0.1, digits: 1 });
  addCheckbox(frame, CARTPOLE, "greedy");
  addSeed(frame, CARTPOLE);
  // By the reader's hand only. In the plain figure the one policy goes on under other physics.
  for (const event of plain ? [] : ["input", "change"]) frame.controls.addEventListener(event, anew);

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
    const physics = Object.fromEntries(CART.physics.map((name) => [name, get(name)]));
    return { ...physics, force: get("swapped") ? -physics.force : physics.force, side: get("side") };
  }
  /** What was adapted to another task is not this task's: begin with no step. */
  function anew() {
    const taken = get("history"), same = (a, b) => String(a.slice(0, 6)) === String(b.slice(0, 6));
    if (keep.checked || taken.every((one) => same(one, present()))) return;
    pause();
    put({ history: [], updates: 0, step: 0, earned: 0, state: [] });
    save();
    frame.note(words.anew);
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
    return [...CART.physics.map((name) => physics[name]), side, get("seed")];
  }
  function takeStep() {
    const from = Math.min(get("updates"), most - 1);
    put({ history: [...get("history").slice(0, from), present()], updates: from + 1 });
    save();
    frame.note("");
  }

  function where() {
    const state = get("state");
    return state.length ? state : cartStart(cartStream(get("seed"), 10 + get("episode")));
  }
  function over() {
    return get("step") >= horizon || cartFell(where());
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
    trace.push([(step + 1) * CART.step, after[0]]);
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
    play.textContent = words.pause;
    last = performance.now();
    due = 0;
    frameId = requestAnimationFrame(tick);
  }
  function pause() {
    if (!playing) return;
    playing = false;
    play.textContent = words.play;
    cancelAnimationFrame(frameId);
    if (alive) show();
    save();
  }
  function tick(time) {
    if (!playing) return;
    if (!thetaAfter(get("updates"), performance.now() + 4)) last = time; // it is still learning
    due += (Math.min(Math.max(time - last, 0), 100) / 1000) * get("speed") / CART.step;
    last = time;
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
    setReadout(frame, "cart", fill(fallen ? words.fallen : words.going, {
      time: (get("step") * CART.step).toFixed(2), end, earned: get("earned"), place: signed(x, 2), speed: signed(v, 2),
      angle: signed(angle * 180 / Math.PI, 1), spin: signed(spin, 2),
    }), words.readouts.cart);
    if (trace.length && trace.at(-1)[0] !== get("step") * CART.step) trace = [];
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
    const count = get("updates"), taken = get("history").length, colour = palette(), shade = ink();
    now = scores.get(scoreKey(count));
    const { mean, right, held, lines } = now, xs = Array.from({ length: taken + 1 }, (_, k) => k);
    const means = xs.map((k) =>
      (k === count ? mean : plain ? chain[k + 1]?.earned : scores.get(scoreKey(k)).mean));
    const far = Math.max(...lines.flat().map(Math.abs));
    paths.setDomain({ y: far < 0.6 ? [-0.6, 0.6] : [-2.5, 2.5] });
    lines.forEach((line, i) => paths.curve(`fresh-${i}`, line.map((_, t) => 5 * t * CART.step), line, { colour: shade, width: 1 }));
    paths.remove("played");
    show(); // over the others
    bars.curve("returns", xs, means, { colour: shade, width: 2 });
    bars.points("returns-points", xs, means, { colour: shade, radius: 5 });
    bars.points("now", [count], [mean], { colour: colour.black, radius: 7 });
    if (!plain) {
      setReadout(frame, "balance", fill(words.stood, { time: (held * CART.step).toFixed(2) }), words.readouts.balance);
      setReadout(frame, "returns", means.map((m, k) => fill(words.each, { count: k, mean: m.toFixed(0) })).join(" · "), words.readouts.returns);
    }
    frame.root.setAttribute("aria-busy", "false");
    const sentence = plain ? (count ? words.balanced : words.unlearned) : count ? words.adapted : words.unadapted;
    frame.say(...marked(sentence, {
      count, horizon, return: mean.toFixed(1), first: means[0].toFixed(1), right: (100 * right).toFixed(0),
    }));
    frame.redraw(); // a goal may be reached
  }

  /** Bring everything in line with the traits. */
  function refresh() {
    if (!alive) return;
    const problem = cartProblem(get);
    if (problem) {
      alive = false;
      pause();
      frame.fail(fill(FRAME.words.impossible, { name: problem, value: get(problem) }));
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
    now = null;
    const side = get("side"), all = [0, end], far = [2.5, 2.5];
    const rows = (way) => far.map((v) => Math.max(0, way * v));
    if (side) paths.area("side", all, rows(-side).map((v) => -v), rows(side), { colour: colour.green });
    else paths.remove("side");
    const bound = { colour: colour.grey, dash: "5 4" }, shade = ink();
    if (side) bars.curve("bound", bars.domain.x, [250, 250], bound);
    else bars.remove("bound");
    paths.legend([{ label: words.fresh, colour: shade }, { label: words.seen, colour: colour.black },
      ...(side ? [{ label: words.paid, colour: colour.green }] : [])]);
    bars.legend([{ label: plain ? words.learned : words.mean, colour: shade },
      ...(plain ? [{ label: words.played, colour: colour.black }] : []),
      ...(side ? [{ label: words.bound, ...bound }] : [])]);
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
