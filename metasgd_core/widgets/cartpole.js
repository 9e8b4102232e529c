// A CartPole that plays in the page: what is seen of cart.js, and what the reader can do to it.

/** Whether nothing was trained before and every step pays: the CartPole that everybody knows. */
function cartIsPlain(get) {
  return get("start") === "random" && get("side") === 0;
}

/** The one sentence that says what is wrong with the state, or nothing. */
function cartProblem(get) {
  const { starts, updates, training, words: { problems } } = CARTPOLE;
  const start = get("start"), most = start === "random" ? training : updates;
  if (!starts.includes(start)) return fill(problems.start, { value: start });
  const positive = CART.physics.slice(0, 3);
  const wrong = CART.physics.find((name) => !Number.isFinite(get(name)) || (positive.includes(name) && get(name) <= 0));
  if (wrong) return fill(problems.physics, { name: wrong, value: get(wrong) });
  const { seed, episode, step } = CARTPOLE.ranges, whole = { updates: [0, most], seed, episode, step };
  for (const [name, [low, high]] of Object.entries(whole)) {
    const value = get(name);
    if (!Number.isInteger(value) || value < low || value > high) return fill(problems.whole, { name, low, high, value });
  }
  if (![1, -1, 0].includes(get("side"))) return fill(problems.side, { value: get("side") });
  const state = get("state"), tasks = get("history");
  if (![0, 4].includes(state.length) || !state.every(Number.isFinite)) return problems.state;
  const possible = (task) => task.length === 7 && task.every(Number.isFinite) &&
    task.slice(0, 3).every((v) => v > 0);
  return tasks.length > most || !tasks.every(possible) ? fill(problems.history, { most }) : "";
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
  const { words } = CARTPOLE, ground = 208, middle = 280;
  const box = element("div", { class: "mf-plot", style: "flex-basis: 100%; max-width: 560px" });
  stage.append(box);
  const svg = cartPart(box, "svg", { viewBox: "0 0 560 262", role: "group",
    "aria-label": words.picture });
  const bright = cartPart(svg, "rect", { y: 8, height: 220, opacity: 0.18, "data-key": "side" });
  const word = cartPart(svg, "text", { y: 28, "text-anchor": "middle", style: "font-size: 20px" });
  const rail = cartPart(svg, "path", { fill: "none", "stroke-width": 2 });
  const ends = cartPart(svg, "path", { fill: "none", "stroke-width": 2, "stroke-dasharray": "6 4" });
  const marks = Array.from({ length: 5 }, () => cartPart(svg, "text", { y: 258, style: "font-size: 18px",
    "text-anchor": "middle" }));
  const cart = cartPart(svg, "g", { tabindex: 0, role: "slider", "aria-valuemin": -CART.edge,
    "aria-valuemax": CART.edge, "aria-label": words.cart,
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
  const draw = ({ state, length, side, quiet }) => {
    const [x, velocity, angle] = state;
    const colour = palette();
    scale = Math.min(100, 165 / (2 * length));
    const edge = CART.edge * scale, tip = 2 * length * scale;
    bright.setAttribute("x", middle - (side < 0 ? edge : 0));
    bright.setAttribute("width", side ? edge : 0);
    bright.setAttribute("fill", colour.green);
    word.setAttribute("x", middle + side * edge / 2);
    word.textContent = side ? words.pays : "";
    rail.setAttribute("d", `M0 ${ground + 15}H560`);
    rail.setAttribute("stroke", colour.grey);
    ends.setAttribute("d", `M${middle - edge} 8V228M${middle + edge} 8V228`);
    ends.setAttribute("stroke", colour.text);
    marks.forEach((mark, i) => {
      mark.setAttribute("x", middle + (i - 2) * scale);
      mark.textContent = i % 2 && scale < 40 ? "" : i === 4 ? fill(words.metres, { place: i - 2 }) : i - 2;
    });
    cart.setAttribute("transform", `translate(${middle + x * scale} ${ground})`);
    if (!quiet) { // a film would be read out picture by picture
      cart.setAttribute("aria-valuenow", x.toFixed(2));
      cart.setAttribute("aria-valuetext", fill(words.moving, { place: x.toFixed(2), speed: velocity.toFixed(2) }));
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
  const get = (name) => model.get(name), net = makeNetwork([4, 64, 2], "tanh"), { horizon } = CART;
  const { words } = CARTPOLE, plain = cartIsPlain(get), most = plain ? CARTPOLE.training : CARTPOLE.updates;
  const { title, goal } = plain ? words.plain : words;
  const frame = createFrame(el, model, {
    title, goals: [{ text: goal }],
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
  const paths = createPlot(frame, { width: 560, height: 260, x: [0, horizon], y: [-0.6, 0.6],
    xlabel: words.time, ylabel: words.position, label: words.paths });
  const bars = createPlot(frame, { width: 560, height: 220, x: [-0.1 * most, 1.1 * most],
    y: [0, 560], xlabel: words.steps, ylabel: words.return, label: words.returns });

  const film = (label, onClick) => addButton(frame, label, onClick, buttons);
  const play = film(words.play, () => (playing ? pause() : resume()));
  film(words.single, () => { pause(); advance(); save(); });
  film(words.renew, () => { pause(); renew(); save(); });
  film(words.left, () => push(-0.5));
  film(words.right, () => push(0.5));
  if (!plain) addSelect(frame, CARTPOLE, "side", [1, -1, 0].map((side) => [side, words.sides[side]]));
  addButton(frame, words.collect, takeStep, frame.controls);
  const { updates, training } = words.controls;
  addSlider(frame, { ranges: { updates: [0, most] }, words: { controls: { updates: plain ? training : updates } } }, "updates");
  if (!plain) addSelect(frame, CARTPOLE, "start", CARTPOLE.starts.map((name) => [name, words.starts[name]]));
  addSlider(frame, CARTPOLE, "speed", { step: 0.1, digits: 1 });
  for (const trait of ["length", "masspole", "masscart"]) addSlider(frame, CARTPOLE, trait, { step: 0.01, log: true });
  addSlider(frame, CARTPOLE, "force", { step: 0.5, digits: 1 });
  addSlider(frame, CARTPOLE, "gravity", { step: 0.1, digits: 1 });
  if (!plain) addCheckbox(frame, CARTPOLE, "swapped");
  addCheckbox(frame, CARTPOLE, "greedy");
  addSeed(frame, CARTPOLE);

  let playing = false, last = 0, seen = 0, due = 0, timer = 0, frameId = 0, alive = true;
  const chain = [];
  let scores = new Map(), job = /** @type {any} */ (null), trace = [], shown = "", mine = "";

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
    setReadout(frame, "cart", fill(fallen ? words.fallen : words.going, {
      step: get("step"), horizon, earned: get("earned"), place: signed(x, 2), speed: signed(v, 2),
      angle: signed(angle * 180 / Math.PI, 1), spin: signed(spin, 2),
    }), words.readouts.cart);
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
    const first = means[0].toFixed(0), share = (100 * right).toFixed(0);
    setReadout(frame, "return", fill(words.after, { count: now, mean: mean.toFixed(1), horizon }), words.readouts.return);
    if (!plain) {
      setReadout(frame, "balance", fill(words.stood, { steps: held.toFixed(1) }), words.readouts.balance);
      setReadout(frame, "right", fill(words.share, { share }), words.readouts.right);
      setReadout(frame, "returns", means.map((m, k) => fill(words.each, { count: k, mean: m.toFixed(0) })).join(" · "), words.readouts.returns);
    }
    frame.root.setAttribute("aria-busy", "false");
    const sentence = plain ? (now ? words.balanced : words.unlearned) : now ? words.adapted : words.unadapted;
    frame.say(fill(sentence, { count: now, mean: mean.toFixed(0), horizon, first, share }));
  }

  /** Bring everything in line with the traits. */
  function refresh() {
    if (!alive) return;
    const problem = cartProblem(get);
    if (problem) {
      alive = false;
      pause();
      frame.fail(problem);
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
    const side = get("side"), all = [0, horizon], far = [2.5, 2.5];
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
