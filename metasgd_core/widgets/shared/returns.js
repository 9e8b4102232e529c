// From what episodes earned to the advantages of their steps, as metasgd_core.policy_gradient has them.

/**
 * Each step's advantage: its return-to-go, less the mean of the other episodes still playing; 0 where none
 * was taken. `normalize` shifts and scales them to mean 0 and standard deviation 1 over all steps.
 * @param {{count: number, steps: number, lengths: ArrayLike<number>, reward: Float64Array}} run step t of
 *   episode i in row t * count + i; `lengths`: how many steps each episode has
 * @param {number} discount
 * @param {boolean} [normalize]
 * @returns {Float64Array} in the same rows
 */
function advantagesOf({ count, steps, lengths, reward }, discount, normalize = true) {
  const returns = new Float64Array(steps * count), advantage = returns.slice(), rows = [];
  const sums = new Float64Array(steps), playing = sums.slice();
  let largest = 0, sum = 0, squares = 0;
  for (let row = steps * count - 1; row >= 0; row--) {
    if (row >= lengths[row % count] * count) continue;
    const t = Math.floor(row / count);
    sums[t] += returns[row] = reward[row] + discount * (returns[row + count] ?? 0);
    playing[t]++;
    rows.push(row);
    largest = Math.max(largest, Math.abs(returns[row]));
  }
  for (const row of rows) {
    const t = Math.floor(row / count);
    sum += advantage[row] = returns[row] - (sums[t] - returns[row]) / Math.max(playing[t] - 1, 1);
  }
  if (!normalize) return advantage;
  for (const row of rows) squares += (advantage[row] -= sum / rows.length) ** 2;
  const spread = Math.sqrt(squares / rows.length);
  for (const row of rows) advantage[row] = spread > RETURNS.rounding * largest ? advantage[row] / spread : 0;
  return advantage;
}
