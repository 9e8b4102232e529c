// Meta-Curvature: the inner step multiplies each layer's gradient by two matrices, one on each side.

/** The product of two matrices, row by row; a row of the first has `inner` numbers. */
function product(a, b, inner) {
  const columns = b.length / inner, c = new Float64Array((a.length / inner) * columns);
  a.forEach((value, k) => {
    const to = Math.floor(k / inner) * columns, from = (k % inner) * columns;
    for (let j = 0; j < columns; j++) c[to + j] += value * b[from + j];
  });
  return c;
}

/** How many numbers a network's matrices have. */
function curvatureCount(net) {
  return net.layers.reduce((sum, layer) => sum + layer.out ** 2 + (layer.in + 1) ** 2, 0);
}

/**
 * M_out G M_in, for each layer's gradient G with its bias as the last column.
 * @param {Network} net
 * @param {Float64Array} matrices M_out and M_in of each layer in turn, row by row
 * @returns {(gradient: Float64Array) => Float64Array} for adaptSteps, in alpha's place
 */
function curvature(net, matrices) {
  return (gradient) => {
    const moved = new Float64Array(net.count);
    let from = 0;
    const next = (side) => matrices.subarray(from, (from += side * side));
    for (const layer of net.layers) {
      const wide = layer.in + 1, left = next(layer.out), right = next(wide);
      const at = (k) => { // where entry k of G stands in theta
        const row = Math.floor(k / wide), column = k % wide;
        return column < layer.in ? layer.weight + row * layer.in + column : layer.bias + row;
      };
      const G = Float64Array.from({ length: layer.out * wide }, (_, k) => gradient[at(k)]);
      product(product(left, G, layer.out), right, wide).forEach((m, k) => { moved[at(k)] = m; });
    }
    return moved;
  };
}
