// Value ranges, what lies beyond them, and how numbers are written. The results equal those of `featscope heat`.

/** @typedef {number[]} Inside [row0, row1, col0, col1], half open: the cells that lie on the image */

/**
 * Parse a range as the command line does: map, symmetric, symmetric:q, percentile:a:b or lo:hi. Null if it is none.
 * @param {string} spec
 */
export function parseRange(spec) {
  if (spec === 'map') return { kind: 'map', low: 0, high: 0 };
  if (spec === 'symmetric') return { kind: 'symmetric', low: 0, high: 100 };
  const parts = spec.split(':');
  let kind = 'fixed';
  if (parts[0] === 'percentile') kind = /** @type {string} */ (parts.shift());
  else if (parts[0] === 'symmetric') [kind, parts[0]] = ['symmetric', '0'];
  const [low, high] = parts.map((part) => (part.trim() ? Number(part) : NaN));
  if (parts.length !== 2 || !(low < high) || !Number.isFinite(high - low)) return null;
  if (kind !== 'fixed' && !(low >= 0 && high <= 100)) return null;
  return { kind, low, high };
}

/**
 * The values that the first and the last colour stand for: [low, high].
 * @param {Float32Array} values @param {number[]} shape @param {Inside|null|undefined} inside @param {string} spec
 * @returns {number[]}
 */
export function boundsOf(values, shape, inside, spec) {
  const range = parseRange(spec);
  if (!range) throw new RangeError(`${spec} is not a range`);
  if (range.kind === 'fixed') return [range.low, range.high];
  // Without numbers, a range spans all values, also those on the padding.
  const cells = spec.includes(':') ? finiteIn(values, shape, inside) : finiteIn(values, shape, null);
  let ends = [0, 0];
  if (range.kind === 'percentile') ends = [percentile(cells, range.low), percentile(cells, range.high)];
  else if (range.kind === 'symmetric' && range.high < 100) {
    const q = percentile(cells.map(Math.abs), range.high);
    ends = [-q, q];
  }
  if (!(ends[0] < ends[1])) ends = extremes(cells); // nearly all cells have one value; show the few others
  const most = Math.max(Math.abs(ends[0]), Math.abs(ends[1]));
  return range.kind === 'symmetric' ? [-most, most] : ends;
}

/** @param {Float32Array} values @param {number[]} shape @param {Inside|null|undefined} inside */
function finiteIn(values, shape, inside) {
  const [row0, row1, col0, col1] = inside ?? [0, shape[0], 0, shape[1]];
  const found = new Float32Array(Math.max(0, (row1 - row0) * (col1 - col0)));
  let count = 0;
  for (let row = row0; row < row1; row++) {
    for (let i = row * shape[1] + col0, end = row * shape[1] + col1; i < end; i++) {
      const value = values[i];
      if (value - value === 0) found[count++] = value;
    }
  }
  return found.subarray(0, count);
}

/** @param {Float32Array} cells */
function extremes(cells) {
  if (!cells.length) return [0, 0];
  let low = cells[0],
    high = cells[0];
  for (let i = 1; i < cells.length; i++) {
    const value = cells[i];
    if (value < low) low = value;
    else if (value > high) high = value;
  }
  return [low, high];
}

/**
 * A percentile with linear interpolation, as numpy's. It reorders `cells`, because selecting is much faster than sorting.
 * @param {Float32Array} cells finite @param {number} q 0 to 100
 */
export function percentile(cells, q) {
  if (!cells.length) return 0;
  const at = ((cells.length - 1) * q) / 100,
    below = Math.floor(at);
  const low = select(cells, below);
  if (below === at) return low;
  let next = Infinity; // after the selection, all that come behind are at least as large
  for (let i = below + 1; i < cells.length; i++) if (cells[i] < next) next = cells[i];
  return low + (next - low) * (at - below);
}

/** The k-th smallest value (Hoare's selection). @param {Float32Array} a @param {number} k */
function select(a, k) {
  let left = 0,
    right = a.length - 1;
  while (left < right) {
    const x = a[left],
      y = a[(left + right) >> 1],
      z = a[right];
    const pivot = Math.max(Math.min(x, y), Math.min(Math.max(x, y), z));
    let i = left,
      j = right;
    while (i <= j) {
      while (a[i] < pivot) i++;
      while (a[j] > pivot) j--;
      if (i <= j) {
        const kept = a[i];
        a[i++] = a[j];
        a[j--] = kept;
      }
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else break;
  }
  return a[k];
}

/**
 * The shares of the finite cells on the image that are below `low` and above `high`.
 * @param {Float32Array} values @param {number[]} shape @param {Inside|null|undefined} inside @param {number} low
 * @param {number} high
 */
export function sharesBeyond(values, shape, inside, low, high) {
  const cells = finiteIn(values, shape, inside);
  let below = 0,
    above = 0;
  // The bounds are compared in single precision, like the values, or an end would be beyond itself.
  const first = Math.fround(low),
    last = Math.fround(high);
  for (let i = 0; i < cells.length; i++) {
    if (cells[i] < first) below++;
    else if (cells[i] > last) above++;
  }
  const count = cells.length || 1;
  return { below: below / count, above: above / count };
}

/** @param {Float32Array} values */
export function countMarks(values) {
  let nan = 0,
    inf = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value - value === 0) continue;
    if (Number.isNaN(value)) nan++;
    else inf++;
  }
  return { nan, inf };
}

/** How many cells lie outside of the image. @param {number[]} shape @param {Inside|null|undefined} inside */
export function outsideCount(shape, inside) {
  return inside ? shape[0] * shape[1] - (inside[1] - inside[0]) * (inside[3] - inside[2]) : 0;
}

/** The smallest range that contains all. @param {number[][]} ranges @returns {number[]} */
export function sharedBounds(ranges) {
  if (!ranges.length) return [0, 0];
  return [Math.min(...ranges.map((range) => range[0])), Math.max(...ranges.map((range) => range[1]))];
}

/**
 * Round numbers from low to high, about `count` of them.
 * @param {number} low @param {number} high @param {number} [count]
 */
export function niceTicks(low, high, count = 5) {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [];
  const rough = span / count,
    power = Math.floor(Math.log10(rough));
  const digit = rough / 10 ** power;
  const factor = digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10;
  const step = factor * 10 ** power,
    ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push(Number((i * step).toPrecision(12)) + 0); // + 0, because -0 would be written with its sign
  }
  return ticks;
}

/**
 * A short number of at most `digits` significant digits.
 * @param {number} value @param {number} [digits]
 */
export function format(value, digits = 4) {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const rounded = Number(value.toPrecision(digits)),
    size = Math.abs(rounded);
  const plain = rounded === 0 || (size >= 1e-4 && size < 1e6);
  const text = plain ? String(rounded) : rounded.toExponential().replace('e+', 'e');
  return text.replace(/-/g, '−');
}
