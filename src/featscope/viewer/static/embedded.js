// The answers that a saved report holds itself: in the page, or in one script a sample beside it.
import { twoSigns } from './draw/tiles.js';
import { gunzip, unpack } from './transport.js';

/** Parameters that a report leaves out of its keys: they have their default, or a report holds one form only. */
const DEFAULT = /^(size=.*|[a-z_]+=(|0|auto|peak|number))$/;

/** The key of a question in a report: parameters by name, without defaults. @param {string} key */
export function plainKey(key) {
  const [name, query = ''] = key.split('?');
  return `${name}?${query
    .split('&')
    .filter((part) => part && !DEFAULT.test(part))
    .sort()
    .join('&')}`;
}

/** @param {string} key @param {string} field @returns {string} */
const fieldOf = (key, field) => new URLSearchParams(key.split('?')[1]).get(field) ?? '0';

/**
 * One channel as a map, from the tiles of all channels: in 254 steps, and as small as the tiles are.
 * @param {Uint8Array} tiles @param {number} number @returns {Uint8Array|undefined}
 */
export function channelOf(tiles, number) {
  const { header, data } = unpack(/** @type {ArrayBuffer} */ (tiles.buffer));
  const [count, rows, columns] = header.shape,
    at = number - header.first;
  if (!(at >= 0 && at < count)) return undefined;
  const low = header.lows[at],
    high = header.highs[at],
    cells = rows * columns;
  const signed = twoSigns(header.lows, header.highs); // of the whole map, as the server decides it
  const { shape, inside } = header.map;
  // Tiles hold whole blocks of cells, so the part of them that lies on the image is smaller by the same factor.
  const step = Math.max(1, Math.ceil(Math.max(shape[0] / rows, shape[1] / columns) - 1e-9));
  const placement = {
    ...header.placement,
    cells: header.placement.cells.map((/** @type {number} */ side) => side / step),
  };
  const text = new TextEncoder().encode(
    JSON.stringify({
      ...header.map,
      shape: [rows, columns],
      dtype: 'float32',
      reduce: `channel:${number}`,
      words: `channel ${number}`,
      placement,
      range: signed ? 'symmetric:99' : 'percentile:1:99',
      zero: signed,
      colormap: signed ? 'colorbrewer:RdBu_r' : 'turbo',
      inside: inside.map((/** @type {number} */ side, /** @type {number} */ which) =>
        Math.ceil(side / step - (which % 2 ? 0 : 1e-9)),
      ),
      stride: header.map.stride?.map((/** @type {number} */ side) => side * step) ?? null,
      notes: [...header.map.notes, 'a report holds channels in 254 steps, and small; featscope view shows them whole'],
    }),
  );
  const length = Math.ceil(text.length / 4) * 4,
    made = new Uint8Array(4 + length + 4 * cells).fill(32);
  new DataView(made.buffer).setUint32(0, length, true);
  made.set(text, 4);
  const values = new Float32Array(made.buffer, 4 + length, cells);
  for (let cell = 0; cell < cells; cell++) {
    const code = data[at * cells + cell];
    values[cell] = code === 255 ? NaN : code === 254 ? Infinity : low + (code / 253) * (high - low);
  }
  return made;
}

/** What a page with its answers has in place of a server. */
export class Held {
  /** @param {Record<string, string>} answers  key -> base64 of gzip'd bytes @param {boolean} beside  samples lie in scripts beside the page */
  constructor(answers, beside) {
    this.answers = new Map(Object.entries(answers));
    this.beside = beside;
    /** @type {Map<string, Promise<void>>} */
    this.scripts = new Map();
  }

  /** @param {Record<string, string>} answers */
  add(answers) {
    for (const [key, text] of Object.entries(answers)) this.answers.set(key, text);
  }

  /** An answer: base64 of gzip'd bytes, or bytes; undefined if the report does not hold it. @param {string} asked @returns {Promise<string|Uint8Array|undefined>} */
  async get(asked) {
    const key = plainKey(asked);
    if (!this.answers.has(key) && this.beside) await this.load(`${fieldOf(asked, 'run')}-${fieldOf(asked, 'sample')}`);
    const found = this.answers.get(key),
      reduce = fieldOf(asked, 'reduce');
    if (found !== undefined || !asked.startsWith('map?') || !reduce.startsWith('channel:')) return found;
    const tiles = this.answers.get(plainKey(asked.replace('map?', 'channels?').replace(/reduce=[^&]*&?/, '')));
    return tiles === undefined ? undefined : channelOf(await gunzip(tiles), Number(reduce.slice(8)));
  }

  /** @param {string} name */
  load(name) {
    let done = this.scripts.get(name);
    if (!done) {
      done = new Promise((resolve) => {
        const script = document.createElement('script');
        script.src = `samples/${name}.js`;
        script.onload = script.onerror = () => resolve();
        document.head.append(script);
      });
      this.scripts.set(name, done);
    }
    return done;
  }
}

const data = globalThis.document?.getElementById('featscope-answers');
if (data) {
  const answers = JSON.parse(data.textContent || '{}');
  data.remove();
  /** @type {any} */ (globalThis).featscopeAnswers = new Held(answers, data.dataset.beside === 'yes');
}
