// Answers of the server, or of a saved report that holds them itself: one way to ask, one cache.
import { inWords, said } from './said.js';
import { t } from './words.js';

/** @typedef {Record<string, string|number|undefined|null>} Params */
/** @typedef {{header: any, data: Float32Array|Uint8Array|Uint16Array|Int32Array}} Arrays */
/** @typedef {{role?: string, signal?: AbortSignal, calm?: boolean}} How  calm: a background request, after all others */

/** The part of the address after 'ask/': the name and the parameters by name. Saved reports store answers under it. @param {string} name @param {Params} [params] */
export function keyOf(name, params = {}) {
  const parts = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== '');
  parts.sort(([a], [b]) => (a < b ? -1 : 1));
  return `${name}?${parts.map(([key, value]) => `${key}=${encodeURIComponent(/** @type {string} */ (value))}`).join('&')}`;
}

const MOST = 1000; // values in a cache: what hangs on a small one takes more bytes than itself

/** Values up to a number of bytes in all; the longest unused go first. @template T */
export class Cache {
  /** @param {number} limit @param {(value: T) => void} [onOut] */
  constructor(limit, onOut = () => {}) {
    this.limit = limit;
    this.bytes = 0;
    this.onOut = onOut;
    /** @type {Map<string, {value: T, size: number}>} */
    this.entries = new Map();
    /** Those that are on the screen. @type {Set<T>} */
    this.held = new Set();
  }

  /** @param {string} key @returns {T|undefined} */
  get(key) {
    const entry = this.entries.get(key);
    if (!entry) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry.value;
  }

  /** @param {string} key @param {T} value @param {number} size */
  put(key, value, size) {
    this.drop(key);
    this.entries.set(key, { value, size });
    this.bytes += size;
    for (const [old, entry] of this.entries) {
      if ((this.bytes <= this.limit && this.entries.size <= MOST) || old === key) break;
      if (!this.held.has(entry.value)) this.drop(old);
    }
  }

  /** @param {string} key */
  drop(key) {
    const entry = this.entries.get(key);
    if (!entry) return;
    this.entries.delete(key);
    this.bytes -= entry.size;
    this.onOut(entry.value);
  }

  /** @param {(key: string) => boolean} which */
  dropWhere(which) {
    for (const key of [...this.entries.keys()]) if (which(key)) this.drop(key);
  }
}

const PICTURES = ['image', 'thumb', 'picture'];
const ARRAYS = ['map', 'channels', 'explanation'];
const TYPES = { float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array };

/** A reply of header and numbers. @param {ArrayBuffer} buffer @returns {Arrays} */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const type = TYPES[/** @type {keyof typeof TYPES} */ (header.dtype)];
  const count = header.shape.reduce((/** @type {number} */ all, /** @type {number} */ side) => all * side, 1);
  return { header, data: new type(buffer, 4 + length, count) };
}

/** @param {string} words @param {string} [name] */
function failure(words, name = 'Error') {
  const error = new Error(words);
  error.name = name;
  return error;
}

/** @param {any} error */
export const isAbort = (error) => error?.name === 'AbortError';
const aborted = () => new DOMException('superseded', 'AbortError');

/** The bytes of base64 of gzip'd bytes. @param {string} text @returns {Promise<Uint8Array>} */
export async function gunzip(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Bytes of the texts that answers were read from. @type {WeakMap<object, number>} */
const lengths = new WeakMap();

/** @param {string} text */
function parse(text) {
  const value = JSON.parse(text);
  lengths.set(value, 2 * text.length);
  return value;
}

/** @param {string} name @param {string|Uint8Array} held  base64 of gzip'd bytes, or bytes */
async function opened(name, held) {
  const bytes = typeof held === 'string' ? await gunzip(held) : held;
  const buffer = /** @type {ArrayBuffer} */ (bytes.buffer);
  if (PICTURES.includes(name)) {
    return new Blob([buffer], {
      type: bytes[0] === 0x89 ? 'image/png' : bytes[0] === 0xff ? 'image/jpeg' : 'image/webp',
    });
  }
  return ARRAYS.includes(name) ? unpack(buffer) : parse(new TextDecoder().decode(bytes));
}

/** @param {string} key @param {string} name @param {AbortSignal} signal @param {boolean} calm */
async function fetched(key, name, signal, calm) {
  const stored = /** @type {any} */ (globalThis).featscopeAnswers;
  if (stored) {
    const text = await stored.get(key);
    if (text === undefined) throw failure(t('error.not_in_report'), 'Missing');
    return inWords(await opened(name, text));
  }
  let response;
  try {
    // 'priority' is newer than the types know.
    response = await fetch(`ask/${key}`, /** @type {RequestInit} */ ({ signal, priority: calm ? 'low' : 'auto' }));
  } catch (error) {
    throw isAbort(error) ? error : failure(t('error.gone'), 'Gone');
  }
  const type = response.headers.get('content-type') || '';
  if (!response.ok) {
    const words = type.includes('json') ? (await response.json().catch(() => ({}))).error : '';
    throw failure(words ? said(words) : t('error.status', response.status), response.status === 410 ? 'Over' : 'Error');
  }
  try {
    if (type.startsWith('image/')) return await response.blob();
    return inWords(type.includes('json') ? await response.json() : unpack(await response.arrayBuffer()));
  } catch (error) {
    throw isAbort(error) ? error : failure(t('error.broken'), 'Broken');
  }
}

/** @param {any} value */
const sizeOf = (value) =>
  value instanceof Blob ? value.size : value.data ? value.data.byteLength : (lengths.get(value) ?? 0);

export class Transport {
  constructor() {
    /** @type {Cache<any>} */
    this.arrays = new Cache(128e6);
    /** @type {Cache<any>} */
    this.texts = new Cache(64e6);
    /** @type {Cache<ImageBitmap>} */
    this.bitmaps = new Cache(64e6, (bitmap) => bitmap.close());
    /** @type {Cache<any>} */
    this.blobs = new Cache(24e6);
    /** @type {Map<string, {promise: Promise<any>, waiting: number, controller: AbortController}>} */
    this.flights = new Map();
    /** @type {Map<string, AbortController>} */
    this.roles = new Map();
    /** @type {Map<string, ImageBitmap>} */
    this.shown = new Map();
    /** @type {(() => Promise<any>)[]} */
    this.queue = [];
    this.busy = false;
    /** Called whenever the server has answered. */
    this.heard = () => {};
  }

  /** @param {string} name @returns {Cache<any>|null} */
  cacheOf(name) {
    if (ARRAYS.includes(name)) return this.arrays;
    if (name === 'image' || name === 'thumb') return this.blobs;
    return ['samples', 'sample', 'best', 'ranks', 'misses', 'lost'].includes(name) ? this.texts : null;
  }

  /** End what the role has asked for before. @param {string} role @param {AbortSignal} [outer] */
  take(role, outer) {
    this.roles.get(role)?.abort();
    const mine = new AbortController();
    this.roles.set(role, mine);
    if (outer?.aborted) mine.abort();
    else outer?.addEventListener('abort', () => mine.abort(), { once: true });
    return mine.signal;
  }

  /**
   * The answer to a question: JSON, `{header, data}`, or a Blob. A later request of the same role ends the earlier one.
   * @param {string} name @param {Params} [params] @param {How} [how]
   * @returns {Promise<any>}
   */
  async ask(name, params = {}, { role, signal, calm = false } = {}) {
    const key = keyOf(name, params);
    if (role) signal = this.take(role, signal);
    if (signal?.aborted) throw aborted();
    const cache = this.cacheOf(name);
    const cached = cache?.get(key);
    if (cached !== undefined) return cached;
    let flight = this.flights.get(key);
    if (!flight) {
      const controller = new AbortController();
      const promise = fetched(key, name, controller.signal, calm)
        .then((value) => {
          this.heard();
          cache?.put(key, value, sizeOf(value));
          return value;
        })
        .finally(() => {
          if (this.flights.get(key) === flight) this.flights.delete(key);
        });
      flight = { promise, waiting: 0, controller };
      this.flights.set(key, flight);
    }
    return this.wait(key, flight, signal);
  }

  /** One who waits for a request; when the last one leaves, it is ended. @param {string} key @param {{promise: Promise<any>, waiting: number, controller: AbortController}} flight @param {AbortSignal} [signal] */
  wait(key, flight, signal) {
    flight.waiting++;
    return new Promise((resolve, reject) => {
      let here = true;
      const leave = () => {
        if (!here) return;
        here = false;
        if (--flight.waiting === 0) {
          if (this.flights.get(key) === flight) this.flights.delete(key);
          flight.controller.abort();
        }
        reject(aborted());
      };
      signal?.addEventListener('abort', leave, { once: true });
      /** @param {(value: any) => void} act */
      const done = (act) => (/** @type {any} */ value) => {
        if (!here) return;
        here = false;
        signal?.removeEventListener('abort', leave);
        act(value);
      };
      flight.promise.then(done(resolve), done(reject));
    });
  }

  /**
   * A picture to draw. It stays open until the role asks for another or is released.
   * @param {Params} params @param {How} [how] @param {string} [name]
   * @returns {Promise<ImageBitmap>}
   */
  async bitmap(params, { role, signal, calm } = {}, name = 'image') {
    const key = keyOf(name, params);
    if (role) signal = this.take(role, signal);
    let bitmap = this.bitmaps.get(key);
    if (!bitmap) {
      const made = await createImageBitmap(await this.ask(name, params, { signal, calm }));
      bitmap = this.bitmaps.get(key);
      if (bitmap) made.close();
      else {
        bitmap = made;
        this.bitmaps.put(key, bitmap, 4 * bitmap.width * bitmap.height);
      }
    }
    if (signal?.aborted) throw aborted();
    if (role) {
      this.shown.set(role, bitmap);
      this.bitmaps.held = new Set(this.shown.values());
    }
    return bitmap;
  }

  /** A role that shows nothing any more. @param {string} role */
  release(role) {
    this.roles.get(role)?.abort();
    this.roles.delete(role);
    this.shown.delete(role);
    this.bitmaps.held = new Set(this.shown.values());
  }

  /** Ask for what may be wanted next, one after another, behind everything else. @param {string} name @param {Params} params @param {(value: any) => void} [then] */
  prefetch(name, params, then = () => {}) {
    if (/** @type {any} */ (globalThis).featscopeAnswers) return;
    this.queue.push(() =>
      (name === 'image' ? this.bitmap(params, { calm: true }) : this.ask(name, params, { calm: true })).then(then),
    );
    if (this.queue.length > 8) this.queue.shift();
    if (!this.busy) this.work();
  }

  async work() {
    this.busy = true;
    for (let next = this.queue.shift(); next; next = this.queue.shift()) {
      try {
        await next();
      } catch {
        /* asked again, and then said, when it is wanted */
      }
    }
    this.busy = false;
  }

  /** One answer, which is asked for again the next time. @param {string} name @param {Params} params */
  drop(name, params) {
    const key = keyOf(name, params);
    this.texts.drop(key);
    this.arrays.drop(key);
  }

  /** A run has grown: what is known of its samples is asked again; with `all` also its maps. @param {number} run @param {boolean} all */
  forget(run, all) {
    const named = new RegExp(`[?&](run|against)=${run}(&|$)`);
    /** @param {string} key */
    const which = (key) => named.test(key);
    this.texts.dropWhere(which);
    if (all) this.arrays.dropWhere(which);
  }
}
