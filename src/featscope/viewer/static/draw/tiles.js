// Channels as small tiles: which codes a tile shows, and which colour each code has. Pure functions on typed arrays.

import { INF_INDEX } from './palette.js';
import { clamp } from './placement.js';
import { parseRange } from './ranges.js';

/** @typedef {{codes: Uint8Array, lows: number[], highs: number[], rows: number, columns: number}} Tiles
 *  codes: one channel after another, 0 to 253 from its low to its high; 254 infinite, 255 NaN */
/** @typedef {{from: Int32Array, to: Int32Array, single: boolean}} Spans  the codes that each pixel covers; single: one each */

const SIZES = [16, 32, 64, 128];
const TOP = 253;

/** How many cells to ask for, for a tile of so many pixels. @param {number} pixels */
export const sizeFor = (pixels) => SIZES.find((size) => size >= pixels) ?? SIZES[SIZES.length - 1];

/**
 * How many cells of the map one code stands for, in both directions: the step of `shrink` in arrays/tiles.py.
 * @param {number[]} full rows and columns of the map @param {number} rows of codes @param {number} columns
 */
export function blockOf(full, rows, columns) {
  for (let block = Math.ceil(Math.max(full[0] / rows, full[1] / columns)); ; block++) {
    if (block >= Math.max(...full) || (Math.ceil(full[0] / block) === rows && Math.ceil(full[1] / block) === columns))
      return block;
  }
}

/**
 * A tile has the shape of the part of the picture that the network saw.
 * @param {import("./placement.js").Placement} placement @param {number} longest pixels of its longer side
 */
export function tileSides({ frame, crop }, longest) {
  const [height, width] = crop ? crop.slice(2) : frame,
    scale = longest / Math.max(height, width);
  return { width: Math.max(4, Math.round(width * scale)), height: Math.max(4, Math.round(height * scale)) };
}

/**
 * Where rows of tiles lie.
 * @param {number} count @param {number} width of the page @param {{width: number, height: number}} tile
 * @param {number} gap @param {number} caption height of the words under a tile
 */
export function layoutOf(count, width, tile, gap, caption) {
  const across = Math.max(1, Math.floor((width + gap) / (tile.width + gap)));
  const rows = Math.ceil(count / across),
    pitch = tile.height + caption + gap;
  return { across, rows, pitch, height: rows * pitch, stepX: tile.width + gap };
}

/**
 * The codes under each pixel of a tile, in one direction of the picture.
 * @param {{first: number, last: number}} direction in cells of the map, as `direction` of placement.js gives it
 * @param {number} pixels @param {number} block cells of the map per code @param {number} count of codes
 * @returns {Spans}
 */
export function spansOf({ first, last }, pixels, block, count) {
  const from = new Int32Array(pixels),
    to = new Int32Array(pixels),
    each = (last - first) / pixels / block;
  const single = Math.abs(each) <= 1 + 1e-6;
  for (let i = 0; i < pixels; i++) {
    const a = first / block + i * each,
      low = Math.min(a, a + each),
      high = Math.max(a, a + each);
    from[i] = clamp(single ? Math.floor((low + high) / 2) : Math.round(low), 0, count - 1);
    to[i] = single ? from[i] + 1 : clamp(Math.round(high), from[i] + 1, count);
  }
  return { from, to, single };
}

/**
 * One code for each pixel where pixels cover several codes: the farthest from zero, or their mean. Marks win.
 * @param {Tiles} tiles @param {number} channel @param {Spans} down @param {Spans} across @param {"peak"|"mean"} by
 */
export function pool({ codes, lows, highs, rows, columns }, channel, down, across, by) {
  const width = across.from.length,
    height = down.from.length,
    out = new Uint8Array(width * height);
  const start = channel * rows * columns,
    low = lows[channel],
    span = highs[channel] - low,
    zero = span ? (-low / span) * TOP : 0;
  for (let y = 0, o = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let best = 0,
        far = -1,
        sum = 0,
        count = 0,
        mark = 0;
      for (let row = down.from[y]; row < down.to[y]; row++) {
        for (let i = start + row * columns + across.from[x], end = i + across.to[x] - across.from[x]; i < end; i++) {
          const code = codes[i],
            away = Math.abs(code - zero);
          if (code >= INF_INDEX) mark = Math.max(mark, code);
          else if (away > far) [far, best] = [away, code];
          sum += code;
          count++;
        }
      }
      out[o++] = mark || (by === 'mean' ? Math.round(sum / count) : best);
    }
  }
  return out;
}

/**
 * The colour of each code of a channel, when `from` has the first colour and `to` the last.
 * @param {Uint32Array} colours of 254 indices and the two marks @param {number} low @param {number} high @param {number} from @param {number} to
 */
export function codeColours(colours, low, high, from, to) {
  if (low === from && high === to && low < high) return colours;
  const found = new Uint32Array(colours);
  const factor = to > from ? TOP / (to - from) : 0;
  for (let code = 0; code <= TOP; code++) {
    const value = low + (code / TOP) * (high - low);
    found[code] = colours[factor ? clamp(Math.floor((value - from) * factor + 0.5), 0, TOP) : 127];
  }
  return found;
}

/**
 * Put a tile into a picture.
 * @param {Uint32Array} pixels @param {number} width of the picture @param {number} left @param {number} top may be negative: the part above is left out
 * @param {Uint8Array} codes @param {number} start of the tile's codes @param {Int32Array} down @param {Int32Array} across @param {number} columns @param {Uint32Array} colours
 */
export function putTile(pixels, width, left, top, codes, start, down, across, columns, colours) {
  const height = pixels.length / width,
    wide = Math.min(across.length, width - left);
  let before = -1;
  for (let y = Math.max(0, -top), end = Math.min(down.length, height - top); y < end; y++) {
    const o = (top + y) * width + left,
      row = down[y];
    if (row === before) pixels.copyWithin(o, o - width, o - width + wide);
    else for (let x = 0, at = start + row * columns; x < wide; x++) pixels[o + x] = colours[codes[at + across[x]]];
    before = row;
  }
}

/** Whether a map has values of both signs, by the rule of render/heat.py. @param {number[]} lows @param {number[]} highs */
export function twoSigns(lows, highs) {
  const low = lows.reduce((a, b) => Math.min(a, b), 0),
    high = highs.reduce((a, b) => Math.max(a, b), 0);
  return low < -0.01 * Math.max(high, -low) && high > 0;
}

/** The value of a code, with no more digits than a code can tell. @param {number} code @param {number} low @param {number} high */
export function valueAt(code, low, high) {
  if (code >= INF_INDEX) return code === INF_INDEX ? Infinity : NaN;
  const value = low + (code / TOP) * (high - low),
    exponent = Math.ceil(-Math.log10((high - low) / TOP));
  return Number.isFinite(exponent) && Math.abs(exponent) < 90 ? Number(value.toFixed(clamp(exponent, 0, 90))) : value;
}

/** @param {Tiles} tiles @param {number} first @param {number} last @param {number} low @param {number} high @param {boolean} sizes of values, without their signs */
function histogram({ codes, lows, highs, rows, columns }, first, last, low, high, sizes) {
  const bins = new Float64Array(2048),
    counts = new Uint32Array(256),
    cells = rows * columns;
  const factor = high > low ? (bins.length - 1) / (high - low) : 0;
  for (let channel = first; channel < last; channel++) {
    counts.fill(0);
    for (let i = channel * cells, end = i + cells; i < end; i++) counts[codes[i]]++;
    for (let code = 0; code <= TOP; code++) {
      if (!counts[code]) continue;
      const value = lows[channel] + (code / TOP) * (highs[channel] - lows[channel]);
      bins[Math.round(((sizes ? Math.abs(value) : value) - low) * factor)] += counts[code];
    }
  }
  return bins;
}

/** @param {Float64Array} bins @param {number} low @param {number} high @param {number} percent */
function percentile(bins, low, high, percent) {
  let rest = (bins.reduce((a, b) => a + b, 0) * percent) / 100,
    at = 0;
  for (; at < bins.length - 1; at++) {
    rest -= bins[at];
    if (rest < 0) break;
  }
  return low + (at / (bins.length - 1)) * (high - low);
}

/**
 * The values of the first and the last colour for each channel.
 * @param {Tiles} tiles @param {string} range as the state names it @param {boolean} shared one for all channels @param {boolean} zero in the middle
 * @returns {[number, number][]}
 */
export function boundsOfTiles(tiles, range, shared, zero) {
  const { lows, highs } = tiles,
    count = lows.length,
    spec = parseRange(range === 'auto' ? 'map' : range);
  /** @param {number} first @param {number} last @returns {[number, number]} */
  const of = (first, last) => {
    if (spec?.kind === 'fixed') return [spec.low, spec.high];
    let low = Infinity,
      high = -Infinity;
    for (let i = first; i < last; i++) {
      low = Math.min(low, lows[i]);
      high = Math.max(high, highs[i]);
    }
    const most = Math.max(Math.abs(low), Math.abs(high)),
      middle = zero || spec?.kind === 'symmetric';
    if (spec?.kind === 'percentile') {
      const bins = histogram(tiles, first, last, low, high, false);
      const ends = [percentile(bins, low, high, spec.low), percentile(bins, low, high, spec.high)];
      if (ends[0] < ends[1]) return [ends[0], ends[1]];
    } else if (spec?.kind === 'symmetric' && spec.high < 100) {
      const end = percentile(histogram(tiles, first, last, 0, most, true), 0, most, spec.high);
      if (end > 0) return [-end, end];
    }
    return middle ? [-most, most] : [low, high];
  };
  if (shared || spec?.kind === 'fixed') return Array(count).fill(of(0, count));
  return lows.map((_, channel) => of(channel, channel + 1));
}
