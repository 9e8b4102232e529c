// Numbers that the figures have from elsewhere: random ones from a seed, and stored ones from bytes.

/**
 * The i-th number of a seed's mulberry32 sequence, in (0, 1). Any number of it can be had without
 * those before it, so a link need not say how many were drawn.
 * @param {number} seed whole
 * @param {number} i from 0 on
 */
function mulberry(seed, i) {
  let t = (seed + Math.imul(i + 1, 0x6d2b79f5)) | 0;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
}

/** A half-precision number (IEEE float16), from its sixteen bits. */
function fromHalf(bits) {
  const exponent = bits >> 10 & 31, fraction = bits & 1023;
  const size = exponent === 31 ? (fraction ? NaN : Infinity)
    : exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}

/**
 * The numbers of a byte trait, widened to double.
 * @param {DataView|ArrayBuffer|Uint8Array} view as a widget's model or a page holds them
 * @param {16|32} bits of each: half or single precision
 * @returns {Float64Array}
 */
function numbersFromBytes(view, bits = 32) {
  if (view.byteLength % (bits / 8)) throw new Error(fill(NUMBERS.words.bytes, { bytes: view.byteLength, bits }));
  // A slice, because a view into a larger buffer need not begin at a multiple of four.
  const bytes = view instanceof ArrayBuffer ? view
    : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return bits === 32 ? Float64Array.from(new Float32Array(bytes)) : Float64Array.from(new Uint16Array(bytes), fromHalf);
}

/**
 * Cut stored numbers into rows of these sizes; there must be as many, and all finite.
 * @param {DataView|ArrayBuffer|Uint8Array} view
 * @param {number[]} sizes
 * @param {16|32} [bits]
 * @returns {Float64Array[]}
 */
function storedRows(view, sizes, bits = 32) {
  const numbers = numbersFromBytes(view, bits), needed = sizes.reduce((sum, size) => sum + size, 0);
  if (needed !== numbers.length) {
    throw new Error(fill(NUMBERS.words.size, { needed, given: numbers.length }));
  }
  if (!numbers.every(Number.isFinite)) throw new Error(NUMBERS.words.finite);
  let at = 0;
  return sizes.map((size) => numbers.slice(at, (at += size)));
}

/**
 * Theta and alpha of each start, in the order of `names` (a stored notebook sorts the names of an
 * object).
 * @param {Network} net
 * @param {DataView|ArrayBuffer|Uint8Array} view
 * @param {readonly string[]} names
 * @param {Object<string, number|string|null>} rates one rate a start, or the kind of what stands
 *   behind its theta: null for a rate of each number
 * @param {Object<string, number>} [counts] how many numbers each kind has
 * @returns {Object<string, {theta: Float64Array, alpha: Float64Array}>}
 */
function storedStarts(net, view, names, rates, counts = { null: net.count }) {
  const rows = storedRows(view, names.flatMap((name) => [net.count, counts[String(rates[name])] ?? 0]));
  return Object.fromEntries(names.map((name, k) => {
    const [theta, own] = rows.slice(2 * k), alpha = own.length ? own : theta.map(() => Number(rates[name]));
    return [name, { theta, alpha }];
  }));
}
