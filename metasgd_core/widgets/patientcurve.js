// A patient's curve: three blood samples, and what a formula and a network make of them.

const PATIENT_TRAITS = [["hour_1", "level_1"], ["hour_2", "level_2"], ["hour_3", "level_3"]];
const [PATIENT_HOURS, PATIENT_HIGH] = [PATIENTCURVE.ranges.hour_1[1], PATIENTCURVE.ranges.level_1[1]];
// Close together at first, where the curve rises.
const PATIENT_GRID = Float64Array.from({ length: 101 }, (_, i) => PATIENT_HOURS * (i / 100) ** 2);

/**
 * The concentration after so many hours in a patient whose ka, ke and V are `z` standard deviations of their
 * logarithms from the median; and its slopes by z.
 * @param {number[]} z
 * @param {number} dose
 * @param {number} hour
 */
function patientLevel(z, dose, hour) {
  const { population } = PATIENTCURVE;
  const [ka, ke, volume] = population.map(([median, spread], i) => median * Math.exp(spread * z[i]));
  const u = (ka - ke) * hour, small = Math.abs(u) < 1e-4;
  const grown = small ? 1 - u / 2 + u * u / 6 : -Math.expm1(-u) / u; // (1 - e^-u) / u, where both rates are the same, too
  const bend = small ? u / 12 - 0.5 : (Math.exp(-u) / grown - 1) / u; // of its logarithm
  const level = dose / volume * ka * hour * Math.exp(-ke * hour) * grown;
  const shares = [1 + ka * hour * bend, -ke * hour * (1 + bend), -1];
  return { level, slopes: shares.map((share, i) => level * share * population[i][1]) };
}

/** Solve A x = b by elimination; NaN where the symmetric A is not positive. */
function patientSolve(A, b) {
  const rows = A.map((row, i) => [...row, b[i]]), x = [...b];
  rows.forEach((row, i) => rows.slice(i + 1).forEach((below) => {
    const times = below[i] / (row[i] > 0 ? row[i] : NaN);
    row.forEach((entry, k) => { below[k] -= times * entry; });
  }));
  for (let i = x.length - 1; i >= 0; i--) {
    const left = rows[i].slice(i + 1, -1).reduce((sum, entry, k) => sum - entry * x[i + 1 + k], rows[i].at(-1));
    x[i] = left / (rows[i][i] > 0 ? rows[i][i] : NaN);
  }
  return x;
}

/**
 * The likeliest patient, as z: least squares of what the samples are off, in standard deviations of the noise,
 * and of z. By damped Newton steps of at most 1: with a slip, where much stays off, those of Gauss and Newton creep.
 * @param {{hour: number, level: number}[]} samples
 * @param {number} dose
 */
function patientFit(samples, dose) {
  const [own, part] = PATIENTCURVE.noise;
  const look = (z) => {
    let sum = z.reduce((total, v) => total + v * v, 0), slope = z;
    for (const { hour, level } of samples) {
      const told = patientLevel(z, dose, hour), sigma = own + part * level, off = (told.level - level) / sigma;
      sum += off * off;
      slope = slope.map((s, i) => s + off * told.slopes[i] / sigma);
    }
    return { z, sum, slope };
  };
  const moved = (z, i, by) => z.map((v, j) => (i === j ? v + by : v));
  const climb = (first) => {
    let best = look([first, 0, 0]), damping = 1;
    for (let tries = 0; tries < 100; tries++) {
      const { z, slope, sum } = best, bends = z.map((_, i) => {
        const [up, down] = [1e-5, -1e-5].map((by) => look(moved(z, i, by)).slope);
        return up.map((s, j) => (s - down[j]) / 2e-5 + (i === j ? damping : 0));
      });
      const step = patientSolve(bends, slope), far = Math.hypot(...step);
      if (far < 1e-8) break;
      const next = look(z.map((v, i) => v - step[i] / Math.max(1, far)));
      damping = next.sum < sum ? damping / 10 : Math.max(1e-3, 10 * damping); // NaN is no less
      if (next.sum < sum) best = next;
    }
    return best;
  };
  // Samples that no patient has may be two patients', one who absorbs fast and one who does not.
  return [0, -3, 3].map(climb).reduce((a, b) => (b.sum < a.sum - 1e-9 ? b : a)).z;
}

/** What the network sees of samples at these hours. */
function patientInputs(hours, dose) {
  return Array.from(hours).flatMap((hour) => [Math.log1p(hour), hour / 12, dose - 4.5]);
}

/** The network's concentrations, mg/L. */
function patientTold(net, theta, hours, dose) {
  return forward(net, theta, patientInputs(hours, dose)).map((y) => PATIENTCURVE.unit * y);
}

/** Theta after one step on the samples, in which no residual counts for more than `bound`. */
function patientStep(net, { theta, alpha }, samples, dose, bound) {
  const xs = patientInputs(samples.map(({ hour }) => hour), dose), values = traceLayers(net, theta, xs);
  const pull = values.at(-1).map((y, i) => {
    const off = y - samples[i].level / PATIENTCURVE.unit;
    return 2 * Math.max(-bound, Math.min(bound, off)) / samples.length;
  });
  const gradient = backward(net, theta, xs, pull, values);
  return theta.map((p, i) => p - alpha[i] * gradient[i]);
}

/** The traits of three samples that are these of the patient's measurements. */
function patientTaken([, , hours, levels]) {
  return Object.fromEntries(PATIENT_TRAITS.flatMap(([hour, level], k) => {
    const i = PATIENTCURVE.known[k];
    return [[hour, hours[i]], [level, levels[i]]];
  }));
}

function patientNumber(value, digits = 2) {
  return value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1").replace("-", "−");
}

function render({ model, el }) {
  const { words, patients, near, slip, bound, unit } = PATIENTCURVE;
  const one = () => /** @type {any} */ (patients.find(([subject]) => subject === model.get("patient")));
  const errors = /** @type {Object<string, number>} */ ({});
  let own = true; // whether the samples are measurements of this patient, and none is made up
  const frame = createFrame(el, model, {
    title: words.title, summary: fill(words.summary, { bound: bound * unit }),
    goals: [
      { text: words.goals.worse, reached: () => own && !model.get("slip") && errors.typical < Math.min(errors.formula, errors.after) },
      { text: words.goals.slip, reached: () => model.get("slip") },
      { text: words.goals.bounded, reached: () => model.get("slip") && model.get("bounded") && errors.after < errors.formula },
    ],
  });
  let net, start;
  try {
    net = makeNetwork([3, 40, 40, 1], "relu");
    const [theta, alpha] = storedRows(model.get("_weights"), [net.count, net.count]);
    start = { theta, alpha };
  } catch (error) {
    frame.fail(fill(FRAME.words.undrawn, { reason: error.message }));
    return;
  }
  const plot = createPlot(frame, {
    height: 340, x: [0, PATIENT_HOURS], y: [0, PATIENT_HIGH], xlabel: words.x, ylabel: words.y, label: words.plot,
  });
  const options = patients.map(([subject, dose]) => [subject, fill(words.person, { subject, dose })]);
  const putBack = () => frame.set(patientTaken(one()));
  addSelect(frame, PATIENTCURVE, "patient", options).addEventListener("change", putBack);
  for (const trait of ["slip", "bounded"]) addCheckbox(frame, PATIENTCURVE, trait);
  addButton(frame, words.back, putBack);
  addGroup(frame, words.numbers, false);
  for (const trait of PATIENT_TRAITS.flat()) addSlider(frame, PATIENTCURVE, trait, { step: 0.1, digits: 2 });

  /** To where a sample is dragged: onto a measurement, if one is near. */
  const move = (sample) => (x, y) => {
    const [hour, level] = PATIENT_TRAITS[sample], [, , hours, levels] = one();
    const i = hours.findIndex((t, k) => Math.abs(t - x) <= near[0] && Math.abs(levels[k] - y) <= near[1]);
    frame.set(i < 0 ? { [hour]: x, [level]: y } : { [hour]: hours[i], [level]: levels[i] });
  };
  /** Words beside a place, in the picture whatever their length. */
  const write = (name, hour, level, text, down) => plot.put(name, "text", (node) => {
    const [x, y] = plot.pixel(hour, level), late = hour > 0.7 * PATIENT_HOURS;
    for (const [key, value] of Object.entries({ x: x + (late ? -9 : 9), y: y + down, "text-anchor": late ? "end" : "start" })) {
      node.setAttribute(key, value);
    }
    node.textContent = text;
  });

  frame.onRedraw(() => {
    const colours = palette(), network = methodColour("Meta-SGD"), [, dose, hours, levels] = one();
    const places = PATIENT_TRAITS.map((pair) => pair.map((trait) => model.get(trait)));
    const slipped = model.get("slip"), wrong = slip * places[0][1];
    own = places.every(([hour, level]) => hours.some((t, i) => t === hour && levels[i] === level));
    const samples = places.map(([hour, level], k) => ({ hour, level: slipped && !k ? wrong : level }));
    const fit = patientFit(samples, dose), phi = patientStep(net, start, samples, dose, model.get("bounded") ? bound : Infinity);
    const formula = (z) => (at) => Float64Array.from(at, (t) => patientLevel(z, dose, t).level);
    const curves = [
      { name: "typical", told: formula([0, 0, 0]), colour: colours.grey, dash: "7 4" },
      { name: "formula", told: formula(fit), colour: colours.green },
      { name: "before", told: (at) => patientTold(net, start.theta, at, dose), colour: network, dash: "2 5" },
      { name: "after", told: (at) => patientTold(net, phi, at, dose), colour: network },
    ];
    const asked = hours.map((_, i) => i).filter((i) => samples.every(({ hour }) => Math.abs(hour - hours[i]) > near[0]));
    const ends = /** @type {Object<string, number[]>} */ ({});
    for (const { name, told, ...style } of curves) {
      const curve = told(PATIENT_GRID), at = told(asked.map((i) => hours[i]));
      plot.curve(name, PATIENT_GRID, curve, { width: 2.2, ...style });
      ends[name] = [Math.min(...curve), Math.max(...curve)];
      errors[name] = Math.sqrt(asked.reduce((sum, i, k) => sum + (at[k] - levels[i]) ** 2, 0) / asked.length);
    }
    plot.points("measured", hours, levels, { colour: colours.orange, radius: 5, fill: "none", width: 2 });
    places.forEach(([hour, level], k) => {
      const text = { hour: patientNumber(hour), level: patientNumber(level) }, off = slipped && !k;
      const node = plot.handle(`point ${k}`, {
        x: hour, y: level, label: fill(words.sample, { number: k + 1 }), colour: colours.text, onMove: move(k),
      });
      node.setAttribute("aria-valuetext", off ? fill(words.slipped, { ...text, wrong: patientNumber(wrong, 1) }) : fill(words.place, text));
      write(`number ${k}`, hour, level, String(k + 1), -8);
    });
    if (slipped) { // what is written down may lie far above the picture
      const [hour, level] = places[0], end = Math.min(PATIENT_HIGH, wrong);
      plot.arrow("slip", hour, level, hour, end, { colour: colours.text });
      write("wrong", hour, end, fill(words.wrong, { wrong: patientNumber(wrong, 1) }), 14);
    } else for (const name of ["slip", "wrong"]) plot.remove(name);
    plot.legend([
      { label: words.names.measured, colour: colours.orange, dash: "0 7" },
      ...curves.map(({ name, colour, dash }) => ({ label: words.names[name], colour, dash })),
    ]);
    const [low, high] = ends.after.map((y) => patientNumber(y, 1));
    const [typical, likeliest, before, after] = curves.map(({ name }) => patientNumber(errors[name]));
    frame.say(
      ...marked(words.said, { count: asked.length, typical, formula: likeliest, before, after }),
      ...(ends.after[0] < -1 || ends.after[1] > PATIENT_HIGH ? [" ", fill(words.leaves, { low, high })] : []),
      ...(ends.formula[1] > PATIENT_HIGH ? [" ", fill(words.beyond, { high: patientNumber(ends.formula[1], 1) })] : []),
    );
  });
  return frame.close;
}

export default { render };
