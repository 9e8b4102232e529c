// The convolutional network, its gradient and its step, in double precision: those of
// metasgd_core.models.ConvNet with norm="batch". And what it gets to see of a drawing: the ink box of
// metasgd_core.tasks.images. tests/book/test_figure_character.py holds both to torch.

/**
 * Lay out the network; its numbers live in one Float64Array, in the order of torch's named_parameters().
 * @param {number} ways
 * @param {number} filters
 */
function makeConvNet(ways, filters) {
  let count = 0, size = Number(CONVNET.size), channels = 1;
  const layers = Array.from({ length: CONVNET.depth }, () => {
    const out = (size + 1) >> 1, weight = count, bias = weight + 9 * channels * filters;
    const where = new Int32Array(9 * out * out).fill(-1); // of each place in each patch, in the image; -1: around it
    for (let k = 0; k < where.length; k++) {
      const at = Math.floor(k / 9), y = 2 * Math.floor(at / out) + Math.floor(k % 9 / 3) - 1, x = 2 * (at % out) + k % 3 - 1;
      if (x >= 0 && y >= 0 && x < size && y < size) where[k] = y * size + x;
    }
    const layer = { weight, bias, channels, positions: out * out, pixels: size * size, where };
    [count, size, channels] = [bias + filters, out, filters];
    return layer;
  });
  const features = size * size * channels, head = count;
  return { ways, filters, layers, features, head, count: head + ways * (features + 1) };
}

/** a (rows x inner) times b (inner x columns). */
function convProduct(a, b, inner, columns) {
  const rows = a.length / inner, to = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < inner; i++) {
      const factor = a[row * inner + i], from = i * columns, into = row * columns;
      if (factor) for (let k = 0; k < columns; k++) to[into + k] += factor * b[from + k];
    }
  }
  return to;
}

/** a, so many columns wide, with its rows as columns. */
function convTurned(a, columns) {
  const rows = a.length / columns;
  return Float64Array.from(a, (_, k) => a[(k % rows) * columns + Math.floor(k / rows)]);
}

/** Where a layer's number of each filter (a column), place in the patch and channel (the row) stands. */
function convKernel({ weight, channels }, filters) {
  return Int32Array.from({ length: 9 * channels * filters }, (_, k) => {
    const row = Math.floor(k / filters);
    return weight + (k % filters * channels + row % channels) * 9 + Math.floor(row / channels);
  });
}

/** What every layer makes of images, which are each other's company: 784 numbers each, one after the other. */
function convTrace(net, theta, images) {
  const { filters, ways, features, head } = net, count = images.length / CONVNET.size ** 2;
  let from = images;
  const layers = net.layers.map((layer) => {
    const { channels, positions, pixels, where, bias } = layer, width = 9 * channels;
    const patches = new Float64Array(count * positions * width);
    for (let k = 0; k < count * where.length; k++) {
      const at = where[k % where.length], image = Math.floor(k / where.length) * pixels;
      if (at >= 0) for (let c = 0; c < channels; c++) patches[k * channels + c] = from[(image + at) * channels + c];
    }
    const kernel = Float64Array.from(convKernel(layer, filters), (k) => theta[k]);
    const normed = convProduct(patches, kernel, width, filters), rows = normed.length / filters;
    const scales = Array.from({ length: filters }, (_, f) => {
      let mean = 0, variance = 0;
      for (let k = f; k < normed.length; k += filters) mean += normed[k] / rows;
      for (let k = f; k < normed.length; k += filters) variance += (normed[k] -= mean) ** 2 / rows;
      const scale = 1 / Math.sqrt(variance + CONVNET.eps);
      for (let k = f; k < normed.length; k += filters) normed[k] *= scale;
      return scale;
    });
    from = normed.map((value, k) => Math.max(0, value + theta[bias + k % filters]));
    return { patches, kernel, normed, scales, values: from };
  });
  const logits = convProduct(from, convTurned(theta.slice(head, head + ways * features), features), features, ways)
    .map((value, k) => value + theta[head + ways * features + k % ways]);
  return { layers, logits };
}

/** The chances of the classes, image by image. */
function softmax(logits, ways) {
  const exps = logits.map((value, k) => {
    const row = k - k % ways;
    return Math.exp(value - Math.max(...logits.subarray(row, row + ways)));
  });
  return exps.map((value, k) => {
    const row = k - k % ways;
    return value / exps.subarray(row, row + ways).reduce((sum, each) => sum + each);
  });
}

/** The mean cross-entropy of images, of which the k-th is of class k, and its gradient by theta. */
function convGradient(net, theta, images) {
  const { filters, ways, features, head } = net, { layers, logits } = convTrace(net, theta, images);
  const chances = softmax(logits, ways), count = logits.length / ways, gradient = new Float64Array(net.count);
  let loss = 0;
  const pull = chances.map((chance, k) => {
    const right = k % ways === Math.floor(k / ways);
    if (right) loss -= Math.log(chance) / count;
    return (chance - Number(right)) / count;
  });
  gradient.set(convProduct(convTurned(pull, ways), layers.at(-1).values, count, features), head);
  pull.forEach((value, k) => { gradient[head + ways * features + k % ways] += value; });
  let below = convProduct(pull, theta.slice(head, head + ways * features), ways, features);
  for (let depth = layers.length - 1; depth >= 0; depth--) {
    const layer = net.layers[depth], { channels, positions, pixels, where, bias } = layer;
    const { patches, kernel, normed, scales, values } = layers[depth], rows = normed.length / filters;
    const above = below.map((value, k) => (values[k] > 0 ? value : 0));
    above.forEach((value, k) => { gradient[bias + k % filters] += value; });
    for (let f = 0; f < filters; f++) { // through the norm, whose mean and variance move, too
      let mean = 0, along = 0;
      for (let k = f; k < above.length; k += filters) {
        mean += above[k] / rows;
        along += above[k] * normed[k] / rows;
      }
      for (let k = f; k < above.length; k += filters) above[k] = scales[f] * (above[k] - mean - along * normed[k]);
    }
    const turned = convProduct(convTurned(patches, 9 * channels), above, rows, filters);
    convKernel(layer, filters).forEach((place, k) => { gradient[place] = turned[k]; });
    if (!depth) break;
    const pulled = convProduct(above, convTurned(kernel, filters), filters, 9 * channels), count_ = rows / positions;
    below = new Float64Array(count_ * pixels * channels);
    for (let k = 0; k < count_ * where.length; k++) {
      const at = where[k % where.length], image = Math.floor(k / where.length) * pixels;
      if (at >= 0) for (let c = 0; c < channels; c++) below[(image + at) * channels + c] += pulled[k * channels + c];
    }
  }
  return { loss, gradient };
}

/** One inner step: theta - alpha * gradient; alpha is one rate, or one for each number of theta. */
function convStep(net, theta, alpha, images) {
  const { gradient } = convGradient(net, theta, images);
  return theta.map((value, k) => value - (typeof alpha === "number" ? alpha : alpha[k]) * gradient[k]);
}

/** The chances of one new image, in the company of those that the network has adapted to. */
function chancesAlone(net, phi, known, image) {
  const all = new Float64Array(known.length + image.length);
  all.set(known);
  all.set(image, known.length);
  return softmax(convTrace(net, phi, all).logits.slice(-net.ways), net.ways);
}

/** Scale and centre the ink, as crop_to_ink does: an image of 0 and 1, row by row. */
function croppedToInk(image) {
  const { size, ink, dot } = CONVNET, places = [...image.keys()].filter((k) => image[k]);
  if (!places.length) return image;
  const box = [places.map((k) => Math.floor(k / size)), places.map((k) => k % size)]
    .map((along) => [Math.min(...along), Math.max(...along) + 1]);
  const scale = Math.max(dot, ...box.map(([low, high]) => (high - low) / size)) / ink;
  /** For each row or column: the pixel before its place in the image, and how far behind it lies. */
  const [ys, xs] = box.map(([low, high]) => Array.from({ length: size }, (_, k) => {
    const place = ((scale * ((2 * k + 1) / size - 1) + (low + high) / size) * size - 1) / 2, before = Math.floor(place);
    return [before, place - before];
  }));
  const at = (y, x) => (y >= 0 && x >= 0 && y < size && x < size ? image[y * size + x] : 0);
  return image.map((_, k) => {
    const [y, v] = ys[Math.floor(k / size)], [x, u] = xs[k % size];
    return Number((1 - v) * ((1 - u) * at(y, x) + u * at(y, x + 1)) + v * ((1 - u) * at(y + 1, x) + u * at(y + 1, x + 1)) > CONVNET.threshold);
  });
}

/**
 * A drawing as the network gets it: the strokes in a pen of one width whatever their size, then the ink box.
 * @param {number[][][]} strokes points, each x and y
 * @returns {Float64Array} of 0 and 1, row by row; no ink without strokes
 */
function inked(strokes) {
  const { size, pen, fine, span, least, threshold } = CONVNET, points = strokes.flat();
  const [xs, ys] = [0, 1].map((i) => points.map((point) => point[i]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = span / Math.max(right - left, bottom - top, least), shares = new Float64Array(size * size);
  const place = (point) => [(left + right) / 2, (top + bottom) / 2].map((middle, i) => size / 2 + scale * (point[i] - middle));
  const drawn = new Uint8Array((size * fine) ** 2);
  for (const stroke of strokes) {
    stroke.forEach((point, k) => {
      const [ax, ay] = place(stroke[Math.max(0, k - 1)]), [bx, by] = place(point), [dx, dy] = [bx - ax, by - ay];
      const span_ = (a, b) => [Math.floor((Math.min(a, b) - pen) * fine), Math.ceil((Math.max(a, b) + pen) * fine)];
      const [fromX, toX] = span_(ax, bx), [fromY, toY] = span_(ay, by), length = dx * dx + dy * dy;
      for (let j = fromY; j < toY; j++) {
        for (let i = fromX; i < toX; i++) {
          const x = (i + 0.5) / fine - ax, y = (j + 0.5) / fine - ay;
          const along = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
          if ((x - along * dx) ** 2 + (y - along * dy) ** 2 <= pen * pen) drawn[j * size * fine + i] = 1;
        }
      }
    });
  }
  drawn.forEach((there, k) => {
    const y = Math.floor(k / (size * fine) / fine), x = Math.floor(k % (size * fine) / fine);
    shares[y * size + x] += there / fine ** 2;
  });
  return croppedToInk(shares.map((share) => Number(share > threshold)));
}
