// From values to a picture of indices, in steps that can be kept: quantised cells, then an index for each screen pixel.
// Pure functions on typed arrays. The order is that of `featscope heat`: clip, then blend, and only then colour.

import { INF_INDEX, NAN_INDEX } from './palette.js';
import { clamp, direction } from './placement.js';

/** @typedef {import('./placement.js').Placement} Placement */
/** @typedef {import('./placement.js').View} View */
/** @typedef {{indices: Uint8Array, marked: boolean}} Quantised marked: some cells are NaN or infinite */
/** @typedef {{from: number, to: number, taps: number, cells: Int32Array, weights: Float32Array, near: Int32Array}} Axis
 *  For each pixel from `from` to `to`: `taps` cells with their weights, and the nearest cell. */

/**
 * Values as indices from 0 to 255; with NaN or infinite cells from 0 to 253, and these have 255 and 254.
 * @param {Float32Array} values @param {number} low @param {number} high @returns {Quantised}
 */
export function quantise(values, low, high) {
  const count = values.length,
    indices = new Uint8Array(count);
  let marked = false;
  for (let i = 0; i < count && !marked; i++) marked = values[i] - values[i] !== 0;
  const top = marked ? 253 : 255,
    constant = !(high > low);
  const factor = constant ? 0 : top / (high - low);
  const start = constant ? (top + 1) / 2 : 0.5 - Math.fround(low) * factor; // the values are in single precision, too
  for (let i = 0; i < count; i++) {
    const at = values[i] * factor + start;
    indices[i] = Math.max(0, Math.min(at, top));
  }
  if (marked) {
    for (let i = 0; i < count; i++) {
      const value = values[i];
      if (value - value !== 0) indices[i] = Number.isNaN(value) ? NAN_INDEX : INF_INDEX;
    }
  }
  return { indices, marked };
}

/**
 * How one direction of the screen lies on the cells: pixel i is at cell `first + i * step`, for the pixels on the crop.
 * @param {Placement} placement @param {'x'|'y'} which @param {View} view @param {number} size of the panel in pixels
 */
export function line(placement, which, view, size) {
  const d = direction(placement, which);
  const zero = view[which] + (0.5 - size / 2) / view.scale; // the frame at the centre of pixel 0
  const perPixel = (d.last - d.first) / d.length;
  const from = clamp(Math.ceil((d.start - zero) * view.scale - 1e-6), 0, size);
  const to = clamp(Math.ceil((d.start + d.length - zero) * view.scale - 1e-6), from, size);
  const ends = [Math.floor(Math.min(d.first, d.last) + 1e-6), Math.ceil(Math.max(d.first, d.last) - 1e-6)];
  return { from, to, first: d.first + (zero - d.start) * perPixel, step: perPixel / view.scale, ends };
}

/**
 * The cells and weights of each pixel. Bilinear between the centres of cells; where a pixel covers several cells, all of
 * them count (a triangle, as Pillow's; or their areas, if the map is not to be smooth), so that no peak is lost.
 * @param {{from: number, to: number, first: number, step: number, ends: number[]}} at ends: cells beyond these and beyond
 *   the map count nothing
 * @param {number} count number of cells
 * @param {boolean} smooth
 * @returns {Axis}
 */
export function axisOf({ from, to, first, step, ends }, count, smooth) {
  const size = to - from,
    covers = Math.abs(step),
    single = !smooth && covers <= 1;
  const begin = Math.min(0, ends[0]),
    end = Math.max(count, ends[1]);
  const reach = smooth ? Math.max(1, covers) : covers / 2;
  const taps = single ? 1 : reach === 1 ? 2 : Math.ceil(2 * reach) + 1;
  const near = new Int32Array(size),
    cells = new Int32Array(size * taps),
    weights = new Float32Array(size * taps);
  for (let i = 0; i < size; i++) {
    const at = first + (from + i) * step,
      left = Math.floor(single ? at + 1e-9 : smooth ? at - reach + 0.5 : at - reach);
    near[i] = clamp(Math.floor(at + 1e-9), 0, count - 1);
    let total = 0;
    for (let t = 0; t < taps; t++) {
      const cell = left + t,
        low = Math.max(at - reach, cell),
        high = Math.min(at + reach, cell + 1);
      const share = single ? 1 : smooth ? 1 - Math.abs(cell + 0.5 - at) / reach : high - low;
      cells[i * taps + t] = clamp(cell, 0, count - 1);
      total += weights[i * taps + t] = cell >= begin && cell < end ? Math.max(0, share) : 0;
    }
    for (let t = 0; t < taps; t++) weights[i * taps + t] /= total;
  }
  return { from, to, taps, cells, weights, near };
}

/**
 * The index of each pixel of the rectangle that both axes span.
 * @param {Quantised} quantised @param {number} cols of the map @param {Axis} across @param {Axis} down
 */
export function placeIndices({ indices, marked }, cols, across, down) {
  const width = across.to - across.from,
    height = down.to - down.from;
  const placed = new Uint8Array(width * height);
  if (!placed.length) return placed;
  const clean = marked ? indices.map((index) => (index >= INF_INDEX ? 0 : index)) : indices;
  const [top, rows] = blendRows(clean, cols, across, down);
  blendColumns(rows, top, width, down, placed);
  if (marked) {
    for (let y = 0, o = 0; y < height; y++) {
      const row = down.near[y] * cols;
      for (let x = 0; x < width; x++, o++) {
        const index = indices[row + across.near[x]];
        if (index >= INF_INDEX) placed[o] = index;
      }
    }
  }
  return placed;
}

/**
 * The rows of cells that are on the screen, blended to the width of the screen: [first row, values].
 * @param {Uint8Array} cells @param {number} cols @param {Axis} across @param {Axis} down
 * @returns {[number, Float32Array]}
 */
function blendRows(cells, cols, across, down) {
  const width = across.to - across.from,
    { taps, cells: at, weights } = across;
  let low = Infinity,
    high = 0;
  for (const row of down.cells) {
    if (row < low) low = row;
    if (row > high) high = row;
  }
  const rows = new Float32Array((high - low + 1) * width);
  for (let row = low, o = 0; row <= high; row++) {
    const start = row * cols;
    if (taps === 2) {
      for (let x = 0, t = 0; x < width; x++, t += 2) {
        rows[o++] = cells[start + at[t]] * weights[t] + cells[start + at[t + 1]] * weights[t + 1];
      }
    } else {
      for (let x = 0, t = 0; x < width; x++) {
        let sum = 0;
        for (let end = t + taps; t < end; t++) sum += cells[start + at[t]] * weights[t];
        rows[o++] = sum;
      }
    }
  }
  return [low, rows];
}

/** @param {Float32Array} rows @param {number} top @param {number} width @param {Axis} down @param {Uint8Array} placed */
function blendColumns(rows, top, width, down, placed) {
  const { taps, cells: at, weights } = down,
    height = down.to - down.from;
  const sums = taps > 2 ? new Float32Array(width) : null;
  for (let y = 0, o = 0; y < height; y++) {
    if (!sums) {
      const a = (at[taps * y] - top) * width,
        wa = weights[taps * y];
      const b = (at[taps * y + taps - 1] - top) * width,
        wb = taps === 2 ? weights[2 * y + 1] : 0;
      for (let x = 0; x < width; x++) placed[o++] = rows[a + x] * wa + rows[b + x] * wb + 0.5;
      continue;
    }
    sums.fill(0.5);
    for (let t = taps * y; t < taps * y + taps; t++) {
      const from = (at[t] - top) * width,
        weight = weights[t];
      if (weight) for (let x = 0; x < width; x++) sums[x] += rows[from + x] * weight;
    }
    for (let x = 0; x < width; x++) placed[o++] = sums[x];
  }
}

/** @param {Uint8Array} placed @param {Uint32Array} lookup @param {Uint32Array} pixels */
export function colour(placed, lookup, pixels) {
  for (let i = 0; i < placed.length; i++) pixels[i] = lookup[placed[i]];
}

/**
 * The difference a - b of two maps of one shape. Cells that are infinite in both are NaN: nothing is known of them.
 * @param {Float32Array} a @param {Float32Array} b
 */
export function differenceOf(a, b) {
  if (a.length !== b.length) throw new RangeError('two maps of different shapes have no difference');
  const result = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) result[i] = a[i] - b[i];
  return result;
}
