// The network, its gradient and the inner step, in double precision. The names and the order of the
// numbers are those of metasgd_core.MLP, and tests/book/test_parity_js.py holds both to each other.

/**
 * Lay out a fully connected network; its numbers live in one Float64Array, in the order of torch's
 * named_parameters(): each layer's weight (row by row, out x in), then its bias.
 * @param {number[]} sizes widths from input to output, such as [1, 40, 40, 1]
 * @param {"relu"|"tanh"} activation applied after every layer but the last
 * @returns {Network}
 */
function makeNetwork(sizes, activation = "relu") {
  if (sizes.length < 2 || sizes.some((size) => !Number.isInteger(size) || size < 1)) {
    throw new Error(`sizes must be two or more positive whole numbers, got ${sizes}`);
  }
  if (activation !== "relu" && activation !== "tanh") {
    throw new Error(`activation must be relu or tanh, got ${activation}`);
  }
  let count = 0;
  const layers = sizes.slice(1).map((out, depth) => {
    const weight = count, bias = weight + out * sizes[depth];
    count = bias + out;
    return { weight, bias, in: sizes[depth], out };
  });
  return { sizes, activation, count, layers };
}

/** Refuse numbers that are not this network's. */
function checkTheta(net, theta) {
  if (theta.length !== net.count) {
    throw new Error(
      `a ${net.sizes.join("-")} network has ${net.count} numbers, got ${theta.length}`);
  }
}

/** The values of every layer, from the input on, each rows x width; hidden ones are activated. */
function traceLayers(net, theta, xs) {
  checkTheta(net, theta);
  const rows = xs.length / net.sizes[0], last = net.layers.length - 1;
  const values = [new Float64Array(xs)];
  if (!Number.isInteger(rows)) {
    throw new Error(`each row needs ${net.sizes[0]} inputs, got ${xs.length} in all`);
  }
  net.layers.forEach((layer, depth) => {
    const from = values[depth], to = new Float64Array(rows * layer.out);
    for (let row = 0; row < rows; row++) {
      for (let o = 0; o < layer.out; o++) {
        let sum = theta[layer.bias + o];
        const weight = layer.weight + o * layer.in, start = row * layer.in;
        let i = 0;
        for (; i + 3 < layer.in; i += 4) { // four at a time need not wait for one another
          const w = weight + i, f = start + i;
          sum += theta[w] * from[f] + theta[w + 1] * from[f + 1] +
            (theta[w + 2] * from[f + 2] + theta[w + 3] * from[f + 3]);
        }
        for (; i < layer.in; i++) sum += theta[weight + i] * from[start + i];
        if (depth < last) sum = net.activation === "tanh" ? Math.tanh(sum) : sum <= 0 ? 0 : sum;
        to[row * layer.out + o] = sum;
      }
    }
    values.push(to);
  });
  return values;
}

/**
 * Predict.
 * @param {Network} net
 * @param {Float64Array} theta its numbers
 * @param {ArrayLike<number>} xs inputs, row by row
 * @returns {Float64Array} outputs, row by row
 */
function forward(net, theta, xs) {
  return traceLayers(net, theta, xs).at(-1);
}

/**
 * The gradient of sum(outputs * outputGradient) by theta: with the gradient of a loss by the
 * outputs, the gradient of that loss.
 * @param {Network} net
 * @param {Float64Array} theta its numbers
 * @param {ArrayLike<number>} xs inputs, row by row
 * @param {ArrayLike<number>} outputGradient one number an output, row by row
 * @param {ArrayLike<number>[]} [values] the layers' values, where traceLayers was run already
 * @returns {Float64Array} of theta's length
 */
function backward(net, theta, xs, outputGradient, values = traceLayers(net, theta, xs)) {
  const gradient = new Float64Array(net.count), rows = xs.length / net.sizes[0];
  if (outputGradient.length !== rows * net.sizes.at(-1)) {
    throw new Error(`${rows} rows need ${rows * net.sizes.at(-1)} output gradients, ` +
      `got ${outputGradient.length}`);
  }
  let above = outputGradient;
  for (let depth = net.layers.length - 1; depth >= 0; depth--) {
    const layer = net.layers[depth], from = values[depth];
    const below = new Float64Array(rows * layer.in);
    for (let row = 0; row < rows; row++) {
      const start = row * layer.in;
      for (let o = 0; o < layer.out; o++) {
        const g = above[row * layer.out + o], weight = layer.weight + o * layer.in;
        gradient[layer.bias + o] += g;
        for (let i = 0; i < layer.in; i++) {
          gradient[weight + i] += g * from[start + i];
          below[start + i] += g * theta[weight + i];
        }
      }
    }
    if (depth) {
      const tanh = net.activation === "tanh";
      for (let i = 0; i < below.length; i++) {
        if (tanh) below[i] *= 1 - from[i] * from[i];
        else if (from[i] <= 0) below[i] = 0;
      }
    }
    above = below;
  }
  return gradient;
}

/**
 * The mean squared error and its gradient by theta.
 * @param {Network} net
 * @param {Float64Array} theta its numbers
 * @param {ArrayLike<number>} xs inputs, row by row
 * @param {ArrayLike<number>} ys targets, row by row
 * @returns {{loss: number, gradient: Float64Array}}
 */
function squaredErrorGradient(net, theta, xs, ys) {
  const values = traceLayers(net, theta, xs), outputs = values.at(-1);
  if (ys.length !== outputs.length) {
    throw new Error(`${outputs.length} outputs need as many targets, got ${ys.length}`);
  }
  let loss = 0;
  const errors = outputs.map((output, i) => {
    loss += (output - ys[i]) ** 2 / ys.length;
    return (2 * (output - ys[i])) / ys.length;
  });
  return { loss, gradient: backward(net, theta, xs, errors, values) };
}

/**
 * The inner loop: theta minus alpha times the gradient of the support error, several times.
 * @param {Network} net
 * @param {Float64Array} theta where it begins; left unchanged
 * @param {Alpha} alpha one rate, one for each number of theta, or what makes the gradient a move
 * @param {ArrayLike<number>} xs inputs of the support points
 * @param {ArrayLike<number>} ys their targets
 * @param {number} steps how often
 * @returns {Float64Array[]} steps + 1 of them, the first is a copy of theta
 */
function adaptSteps(net, theta, alpha, xs, ys, steps) {
  if (alpha instanceof Float64Array) checkTheta(net, alpha);
  const phis = [Float64Array.from(theta)];
  for (let step = 0; step < steps; step++) {
    const { gradient } = squaredErrorGradient(net, phis[step], xs, ys);
    const move = typeof alpha === "function" ? alpha(gradient)
      : gradient.map((g, i) => (typeof alpha === "number" ? alpha : alpha[i]) * g);
    phis.push(phis[step].map((p, i) => p - move[i]));
  }
  return phis;
}
