// The alpha lab: where alpha began, how it trained, what it became, and how it adapts to one task.

const LAB_LAYERS = ["all", "1", "2", "3"];
// Six tensors side by side, a row for each hidden unit: columns that each takes, and the gap after it.
/** @type {[number, number, string][]} */
const LAB_COLUMNS = [[4, 1, "W₁"], [4, 3, "b₁"], [40, 1, "W₂"], [4, 3, "b₂"], [4, 1, "W₃"], [4, 0, "b₃"]];
const LAB_ROWS = 40, LAB_FOOT = 4, LAB_BINS = 40;

/** Cut the stored bytes into theta, the numbers of alpha and which of them moved, arm by arm. */
function labArms(net, table, weights, moved) {
  const rows = storedRows(weights, table.flatMap(({ rates }) => [net.count, rates]), 16);
  const bits = new Uint8Array(moved.buffer ?? moved, moved.byteOffset ?? 0, moved.byteLength);
  const rates = table.reduce((sum, row) => sum + row.rates, 0);
  if (bits.length !== Math.ceil(rates / 8)) {
    throw new Error(fill(ALPHALAB.words.marks, { count: rates }));
  }
  let bit = 0;
  return table.map((row) => {
    const [theta, own] = rows.splice(0, 2);
    const marks = Array.from(own, () => bits[bit >> 3] >> (7 - bit++ % 8) & 1);
    const tensors = net.layers.flatMap((layer) => [
      [layer.weight, layer.in * layer.out], [layer.bias, layer.out],
    ]);
    // For each entry of theta: which number of alpha is its rate.
    const which = new Uint16Array(net.count);
    tensors.forEach(([start, size], k) => {
      const rate = { entry: (i) => i, tensor: () => k, scalar: () => 0 }[row.shape];
      for (let i = start; i < start + size; i++) which[i] = rate(i);
    });
    const alpha = Float64Array.from(which, (i) => own[i]);
    const mean = row.mean.map((error) => error ?? Infinity); // a lost training goes up and out
    return { ...row, mean, theta, alpha, own, moved: marks, which, tensors };
  });
}

/** Mean and half the width of the 95 % interval over up to ten seeds (Student's t). */
function labInterval(values) {
  const { words, student } = ALPHALAB, count = values.length;
  if (!count) return words.none;
  if (values.some((v) => v === null)) return words.diverged;
  const mean = values.reduce((a, b) => a + b) / count;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (count - 1));
  const half = student[count - 2] * deviation / Math.sqrt(count);
  return fill(words.interval, { count, mean: mean.toFixed(3), half: half.toFixed(3) });
}

/** A share in per cent. */
function labShare(count, of) {
  const { words } = ALPHALAB;
  return of ? fill(words.share, { share: Math.round(100 * count / of) }) : words.none;
}

/** The middle one of some numbers, or what lies between the two in the middle. */
function labMedian(numbers) {
  const n = numbers.length, sorted = Float64Array.from(numbers).sort();
  return n ? String(Number(((sorted[n - 1 >> 1] + sorted[n >> 1]) / 2).toPrecision(2))) : ALPHALAB.words.none;
}

/** The rates that a layer has, once each: indices into the arm's own numbers. */
function labLayer({ own, which, tensors }, layer) {
  if (layer === "all") return own.map((_, i) => i);
  const [[start], [bias, size]] = tensors.slice(2 * layer - 2, 2 * layer);
  return [...new Set(which.slice(start, bias + size))];
}

/** Where the colours and the histogram end: the 99th percentile of |alpha|, rounded up. */
function labLimit(own) {
  const sizes = Float64Array.from(own, Math.abs).sort();
  const rough = Math.max(1e-5, sizes[Math.ceil(0.99 * (sizes.length - 1))]);
  const power = 10 ** Math.floor(Math.log10(rough));
  return Number((power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10)).toPrecision(1));
}

/** Draw how all arms of a shape trained, the chosen one with its seeds' band. */
function labTraining(plot, arms, arm, colours) {
  const { iterations } = arm, colour = colours.vermilion;
  const top = Math.max(10, ...arm.mean.filter(Number.isFinite));
  plot.setDomain({ x: [0, Math.max(1, iterations.at(-1))], y: [0.3, top] });
  arms.filter((other) => other.shape === arm.shape && other !== arm).forEach((other, k) => {
    plot.curve(`other ${k}`, other.iterations, other.mean, { colour: colours.grey, width: 0.8 });
  });
  plot.area("band", iterations, arm.low, arm.high, { colour });
  plot.curve("chosen", iterations, arm.mean, { colour, width: 2.5 });
}

/** Draw all rates as a map, the six tensors side by side. */
function labMap(plot, arm, layer, limit, colours) {
  const width = LAB_COLUMNS.reduce((sum, [columns, gap]) => sum + columns + gap, 0);
  const cells = new Array(width * (LAB_ROWS + LAB_FOOT)).fill(null);
  let left = 0;
  LAB_COLUMNS.forEach(([columns, gap, label], k) => {
    const [start, size] = arm.tensors[k], chosen = layer === "all" || Number(layer) === (k >> 1) + 1;
    for (let row = 0; row < LAB_ROWS; row++) {
      for (let column = 0; column < columns; column++) {
        const entry = size === 1600 ? row * 40 + column : size === 1 ? 0 : row;
        cells[row * width + left + column] = { i: arm.which[start + entry], chosen };
      }
    }
    plot.text(label, left + columns / 2, 0.7, label, { colour: colours.text });
    left += columns + gap;
  });
  plot.image("rates", LAB_ROWS + LAB_FOOT, width, cells, (cell) => {
    if (!cell) return "transparent";
    const value = arm.own[cell.i], moved = arm.moved[cell.i];
    const colour = !moved ? colours.grey : value < 0 ? colours.vermilion : colours.blue;
    const strength = moved ? 0.08 + 0.92 * Math.sqrt(Math.min(1, Math.abs(value) / limit)) : 0.55;
    const opacity = Math.round(255 * strength * (cell.chosen ? 1 : 0.25));
    return colour + opacity.toString(16).padStart(2, "0");
  });
  const { positive, negative, unmoved } = ALPHALAB.words;
  plot.legend([[positive, "blue"], [negative, "vermilion"], [unmoved, "grey"]]
    .map(([label, name]) => ({ label, colour: colours[name] })));
}

/** Draw how many of some rates have which size; what lies beyond an end is counted there. */
function labCounts(plot, arm, some, limit, colours) {
  const edges = Array.from({ length: LAB_BINS + 1 }, (_, k) => limit * (2 * k / LAB_BINS - 1));
  const all = new Array(LAB_BINS).fill(0), moved = [...all];
  for (const i of some) {
    const place = Math.floor((arm.own[i] / limit + 1) / 2 * LAB_BINS);
    const bin = Math.max(0, Math.min(LAB_BINS - 1, place));
    all[bin]++;
    moved[bin] += arm.moved[i];
  }
  plot.setDomain({ x: [-limit, limit], y: [0, Math.max(...all) * 1.05] });
  plot.bars("unmoved", edges, all, { colour: colours.grey });
  plot.bars("moved", edges, moved, { colour: colours.blue });
  plot.bars("negative", edges, moved.slice(0, LAB_BINS / 2), { colour: colours.vermilion, opacity: 1 });
}

function render({ model, el }) {
  const sweep = model.get("_arms").length > 1; // else one arm, in training
  const { words } = ALPHALAB, get = (name) => model.get(name), groups = /** @type {any[]} */ ([]);
  const net = makeNetwork([1, 40, 40, 1], "relu");
  let arms, arm, path, read = [], shown = "", before = "0"; // what the pictures of the training show: the task changes more often
  /** A goal opens the group in which it is reached, and folds the others. */
  const goal = (name, group, reached) => ({
    text: words.goals[name], reached, begin: () => groups.forEach((one, k) => { one.open = k === group; }),
  });
  const mean = ({ test }) => test.reduce((sum, error) => sum + error / test.length, 0);
  const frame = createFrame(el, model, {
    title: sweep ? words.title : words.live.title, summary: words.summary, fits: sineFits,
    goals: sweep ? [
      goal("spoils", 0, () => arms.every((one) => one.shape !== arm.shape || mean(one) <= mean(arm))),
      goal("opposite", 0, () => Number(before) === -Number(arm.start) && arm.start !== "0"),
      goal("tensor", 1, () => arm.shape === "tensor"
        && labLayer(arm, get("layer")).length < 6 && labLayer(arm, get("layer")).some((i) => arm.own.every((rate) => Math.abs(rate) <= Math.abs(arm.own[i])))),
      goal("third", 2, () => get("steps") === 3 && path[3].error < path[1].error),
    ] : [],
  });
  /** Cut the bytes again when they have changed, as during a live training. */
  const decode = () => {
    const stored = ["_arms", "_weights", "_moved"].map(get);
    if (stored.every((part, k) => part === read[k])) return;
    arms = labArms(net, ...stored);
    read = stored;
    shown = "";
  };
  try {
    decode();
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  /** A picture in the group that was added last. */
  const picture = (options) => createPlot(frame, { width: 560, height: 260, ...options });
  const group = (title) => {
    const one = addGroup(frame, title, !groups.length);
    frame.stage = element("div", { class: "mf-stage" });
    one.insertBefore(frame.stage, frame.rows);
    groups.push(one);
  };
  const each = (name) => [...new Set(arms.map((one) => one[name]))];
  addSelect(frame, ALPHALAB, "shape", each("shape").map((shape) => [shape, words.shapes[shape]]));
  addSelect(frame, ALPHALAB, "start", each("start").map((start) => [start, start]));
  group(words.groups.training);
  const training = picture({
    x: [0, 20000], y: [0.3, 10], ylog: true, xlabel: words.iterations, ylabel: words.error, label: words.training,
  });
  group(words.groups.rates);
  const map = picture({ x: [0, 69], y: [0, LAB_ROWS + LAB_FOOT], axes: false, label: words.map });
  const counts = picture({ height: 220, x: [-1, 1], y: [0, 1], xlabel: words.alpha, ylabel: words.number, label: words.counts });
  addSelect(frame, ALPHALAB, "layer", LAB_LAYERS.map((layer) => [layer, words.layers[layer]]));
  frame.rows.before(frame.readouts);
  group(words.groups.task);
  const plot = picture({ height: 320, x: [-5.5, 5.5], y: [-6.5, 6.5], xlabel: words.x, ylabel: words.y, label: words.plot });
  const task = addSineTask(frame, plot, false);

  frame.onRedraw(() => {
    decode();
    const [shape, start, layer] = ["shape", "start", "layer"].map(get), last = arm;
    arm = arms.find((one) => one.shape === shape && one.start === start);
    if (!arm) throw new Error(fill(words.arm, { shape, start }));
    if (last && last.start !== start) before = last.start;
    const some = labLayer(arm, layer), moved = some.filter((i) => arm.moved[i]);
    const colours = palette(), state = [shape, start, layer, colours.text].join();
    if (state !== shown) {
      const limit = labLimit(arm.own);
      labTraining(training, arms, arm, colours);
      labMap(map, arm, layer, limit, colours);
      labCounts(counts, arm, some, limit, colours);
      shown = state;
    }
    const { xs, ys, truth, steps } = task.read();
    path = sineAdapt(net, arm, xs, ys, truth);
    task.adapted("network", path, { colour: colours.vermilion });
    task.finish();

    const test = labInterval(arm.test), sizes = moved.map((i) => arm.own[i]);
    const negative = sizes.filter((rate) => rate < 0).length;
    const largest = Array.from(sizes).sort((a, b) => Math.abs(b) - Math.abs(a))[0];
    const said = {
      rates: String(some.length), unmoved: labShare(some.length - moved.length, some.length),
      negative: labShare(negative, moved.length), median: labMedian(sizes),
      largest: sizes.length ? String(Number(largest.toPrecision(2))) : words.none,
    };
    for (const [name, text] of Object.entries(said)) setReadout(frame, name, text, words.readouts[name]);
    const result = marked(arm.test.length ? words.trained : words.untrained, { shape: words.shapes[shape], start, test });
    frame.say(...result, " ", ...sineStory(words.task, path, steps));
  });
  return frame.close;
}

export default { render };
