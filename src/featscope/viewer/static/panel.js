// One picture of a map: image, colours, boxes, cross-hair, scale and notes. The shell says what to show, and hears what happens.

import { h, icon } from './dom.js';
import { boxAt, drawBoxes } from './draw/boxes.js';
import { INF_COLOUR, NAN_COLOUR, lookupOf, seenOf } from './draw/palette.js';
import { Kept } from './draw/painter.js';
import { cellAt, cellQuad, clampView, fitView, frameToScreen, screenToFrame, zoomAbout } from './draw/placement.js';
import { countMarks, format, niceTicks, outsideCount, sharesBeyond } from './draw/ranges.js';

/** @typedef {import('./draw/placement.js').View} View */
/** @typedef {import('./draw/boxes.js').Box} Box */
/** @typedef {import('./draw/boxes.js').Item} Item */
/** @typedef {{shape: number[], values: Float32Array, placement: import('./draw/placement.js').Placement, inside?: number[]|null, level?: number|null, place?: string}} FeatureMap
 *  The header of the server's reply with its values, and the number of its level, which chooses the source cells to outline. */
/** @typedef {{x: number, y: number, row: number|null, column: number|null, value: number|null, level: number|null, place: string, box: {number: number, kind: 'detection'|'truth'}|null}} Hover
 *  x and y in pixels of the frame; row, column and value are null where the network saw nothing. */

/** @typedef {{kind: 'candidate'|'suppressor', polygon: number[], text: string}} Mark */
/**
 * @typedef {object} Shown all that a panel shows; `show` takes any part of it
 * @property {string} title what it is, such as the layer
 * @property {string} how the reduction, in words
 * @property {string} badge 'A', 'B', 'A − B' or ''
 * @property {boolean} shared the scale is one for several panels
 * @property {number[]|null} frame [height, width]; by default that of the map
 * @property {ImageBitmap|null} image
 * @property {FeatureMap|null} map
 * @property {number} low the value of the first colour
 * @property {number} high the value of the last colour
 * @property {Uint8Array|null} palette 768 bytes
 * @property {number} alpha
 * @property {boolean} fade
 * @property {boolean} smooth
 * @property {boolean} zero zero is in the middle of the scale
 * @property {'grey'|'colour'|'none'} photo
 * @property {string[]} classes names
 * @property {Box[]|null} detections
 * @property {Box[]|null} truth
 * @property {'none'|'detections'|'truth'|'both'} boxes which of them are drawn
 * @property {number} score detections below it are not drawn
 * @property {number[]} hidden classes that are not drawn
 * @property {{kind: 'detection'|'truth', number: number}|null} selected
 * @property {Mark[]} marks boxes that tell about the selected one
 * @property {string[]} notes warnings: what is not proved about the place
 * @property {boolean} loading
 * @property {string} error words
 * @property {boolean} numbers whether the values of large cells are written
 * @property {boolean} wheel whether the wheel zooms by itself; otherwise only together with Ctrl, so that a long page scrolls
 */

/** @returns {Shown} */
const nothing = () => ({
  title: '',
  how: '',
  badge: '',
  shared: false,
  frame: null,
  image: null,
  map: null,
  low: 0,
  high: 0,
  palette: null,
  alpha: 0.7,
  fade: true,
  smooth: true,
  zero: false,
  photo: 'grey',
  classes: [],
  detections: null,
  truth: null,
  boxes: 'both',
  score: 0,
  hidden: [],
  selected: null,
  marks: [],
  notes: [],
  loading: false,
  error: '',
  numbers: true,
  wheel: true,
});

/** What is drawn again when a part changes. @type {Record<string, (keyof Shown)[]>} */
const DEPENDS = {
  head: ['title', 'how', 'badge', 'shared', 'notes', 'loading', 'error', 'low', 'high', 'map'],
  stage: ['frame', 'map', 'image'],
  picture: ['frame', 'image', 'map', 'low', 'high', 'palette', 'alpha', 'fade', 'smooth', 'zero', 'photo'],
  items: ['detections', 'truth', 'boxes', 'score', 'hidden', 'classes', 'selected'],
  over: ['frame', 'map', 'numbers', 'detections', 'truth', 'boxes', 'score', 'hidden', 'classes', 'selected', 'marks'],
  cursor: ['frame', 'map'],
  hover: ['frame', 'map', 'detections', 'truth', 'boxes', 'score', 'hidden'],
  scale: ['map', 'low', 'high', 'palette', 'alpha', 'fade', 'zero', 'photo', 'image'],
};

const CELL = 34; // screen pixels of a cell whose number is written
const REACH = 5; // screen pixels around a box that still belong to it

export class Panel {
  /**
   * @param {HTMLElement} root an empty element, which the panel fills
   * @param {{painter: import('./draw/painter.js').Painter, words: (key: string, ...values: any[]) => string}} tools
   */
  constructor(root, { painter, words }) {
    this.painter = painter;
    this.words = words;
    this.shown = nothing();
    /** @type {View|null} null: the whole frame */
    this.view = null;
    /** @type {{x: number, y: number}|null} */
    this.cursor = null;
    /** @type {Item|null} */
    this.hovered = null;
    /** @type {Item[]} the boxes that are drawn, the most important first */
    this.items = [];
    /** @type {(hover: Hover|null) => void} */
    this.onHover = () => {};
    /** @type {(view: View|null) => void} */
    this.onView = () => {};
    /** A box was chosen; null: a place without a box. @type {(number: number|null, kind: 'detection'|'truth'|'') => void} */
    this.onBox = () => {};
    this.width = this.height = 0; // of the stage, in CSS pixels
    this.dirty = new Set(Object.keys(DEPENDS));
    this.visible = true;
    this.asked = this.late = 0;
    this.own = false; // the pointer that made the cross-hair is on this panel
    /** @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    this.moved = 0;
    this.root = root;
    this.kept = new Kept();
    this.badge = h('span', { class: 'panel-badge' });
    this.title = h('span', { class: 'panel-title' });
    this.how = h('span', { class: 'panel-how' });
    this.link = h('span', { class: 'panel-link', role: 'img' }, icon('link'));
    this.canvas = h('canvas', { class: 'panel-map', role: 'img', tabindex: 0 });
    this.over = h('canvas', { class: 'panel-over', 'aria-hidden': 'true' });
    this.lines = [h('i', { class: 'panel-across' }), h('i', { class: 'panel-down' }), h('i', { class: 'panel-cell' })];
    this.state = h('p', { role: 'status' });
    this.said = h('p', { class: 'panel-said', 'aria-live': 'polite' });
    this.stage = h(
      'div',
      { class: 'panel-stage' },
      this.canvas,
      this.over,
      ...this.lines,
      h('div', { class: 'panel-state' }, this.state),
      this.said,
    );
    this.note = h('p', { class: 'panel-note', tabindex: 0 });
    this.notes = h('div', { class: 'panel-notes' }, this.note);
    this.bar = h('canvas', { class: 'panel-bar', width: 256, height: 1, 'aria-hidden': 'true' });
    this.ticks = h('div', { class: 'panel-ticks' });
    this.marks = h('ul', { class: 'panel-marks' });
    this.scale = h('div', { class: 'panel-scale' }, this.bar, this.ticks, this.marks);
    this.root.classList.add('panel');
    this.root.replaceChildren(
      h('div', { class: 'panel-head' }, this.badge, this.title, this.how, this.link),
      this.stage,
      this.scale,
      this.notes,
    );
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext('2d'));
    this.overContext = /** @type {CanvasRenderingContext2D} */ (this.over.getContext('2d'));
    const { canvas } = this;
    this.sizes = new ResizeObserver(([entry]) => this.resize(entry));
    try {
      this.sizes.observe(this.stage, { box: 'device-pixel-content-box' });
    } catch {
      this.sizes.observe(this.stage); // Safari
    }
    this.sight = new IntersectionObserver(
      ([entry]) => {
        this.visible = entry.isIntersecting;
        if (this.visible) this.ask();
      },
      { rootMargin: '200px' },
    );
    this.sight.observe(this.root);
    this.endRepaint = this.painter.onRepaint(() => this.ask('picture'));
    canvas.addEventListener('pointerdown', (event) => this.press(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerup', (event) => this.release(event));
    canvas.addEventListener('pointercancel', (event) => this.release(event));
    canvas.addEventListener('pointerleave', () => this.point(null));
    canvas.addEventListener('dblclick', () => this.change(null));
    canvas.addEventListener('wheel', (event) => this.roll(event), { passive: false });
    canvas.addEventListener('keydown', (event) => this.key(event));
    canvas.addEventListener('blur', () => this.point(null));
  }

  /** Show these parts; the others stay. @param {Partial<Shown>} parts */
  show(parts) {
    const changed = new Set();
    for (const [name, value] of Object.entries(parts)) {
      const key = /** @type {keyof Shown} */ (name);
      if (value === undefined || !(key in this.shown) || Object.is(this.shown[key], value)) continue;
      /** @type {any} */ (this.shown)[key] = value;
      changed.add(key);
    }
    const due = Object.keys(DEPENDS).filter((part) => DEPENDS[part].some((name) => changed.has(name)));
    if (due.length) this.ask(...due);
  }

  /** The language has changed. */
  retell() {
    this.ask('head', 'items', 'over', 'scale');
  }

  /** Show this part of the frame; null: all of it. Does not call `onView`. @param {View|null} view */
  setView(view) {
    const before = this.view;
    if (
      before === view ||
      (before && view && before.x === view.x && before.y === view.y && before.scale === view.scale)
    )
      return;
    this.view = view && { ...view };
    this.ask('picture', 'over', 'cursor');
  }

  /** Put the cross-hair at a pixel of the frame. Does not call `onHover`. @param {{x: number, y: number}|null} cursor */
  setCursor(cursor) {
    if (this.cursor?.x === cursor?.x && this.cursor?.y === cursor?.y) return;
    this.cursor = cursor && { x: cursor.x, y: cursor.y };
    this.ask('cursor');
  }

  destroy() {
    cancelAnimationFrame(this.asked);
    clearTimeout(this.late);
    this.sizes.disconnect();
    this.sight.disconnect();
    this.endRepaint();
    this.painter.forget(this.context);
    this.root.replaceChildren();
    this.root.classList.remove('panel');
  }

  // Drawing

  /** @param {...string} parts */
  ask(...parts) {
    for (const part of parts) this.dirty.add(part);
    if (!this.asked && this.dirty.size) this.asked = requestAnimationFrame(() => this.draw());
  }

  /** @param {ResizeObserverEntry} entry */
  resize(entry) {
    const before = this.width,
      { width, height } = entry.contentRect,
      exact = entry.devicePixelContentBoxSize?.[0];
    [this.width, this.height] = [width, height];
    const size = [width, height].map((side) => Math.round(side * devicePixelRatio));
    // The browser knows best how many pixels it is, except where a page is only shown as if on another screen.
    if (exact && Math.abs(exact.inlineSize - size[0]) <= 1) [size[0], size[1]] = [exact.inlineSize, exact.blockSize];
    if (before === width && this.canvas.width === size[0] && this.canvas.height === size[1]) return;
    for (const canvas of [this.canvas, this.over]) [canvas.width, canvas.height] = size;
    this.dirty.add('picture').add('over').add('cursor').add('scale');
    cancelAnimationFrame(this.asked);
    this.draw(); // at once, because the new canvas is empty
  }

  get frame() {
    const { frame, map, image } = this.shown;
    return frame ?? map?.placement.frame ?? (image ? [image.height, image.width] : [1, 1]);
  }

  /** The view that is on the screen. @returns {View} */
  get seen() {
    const { frame, width, height } = this;
    return this.view ? clampView(this.view, frame, width, height) : fitView(frame, width, height);
  }

  draw() {
    this.asked = 0;
    const { dirty } = this;
    if (dirty.delete('head')) this.drawHead();
    if (dirty.delete('stage')) this.stage.style.aspectRatio = `${this.frame[1]} / ${this.frame[0]}`;
    if (!this.visible) return; // the rest is drawn when it comes into sight
    if (dirty.delete('items')) this.listItems();
    if (dirty.delete('scale')) this.drawScale();
    if (!this.width || !this.height) return;
    if (dirty.delete('picture')) this.drawPicture();
    if (dirty.delete('over')) this.drawOver();
    if (dirty.delete('hover') && this.own && this.cursor) this.point(this.cursor); // there is something else under it now
    if (dirty.delete('cursor')) this.drawCursor();
  }

  drawHead() {
    const { title, how, badge, shared, notes, loading, error, map, low, high } = this.shown;
    tell(this.badge, badge);
    tell(this.title, title);
    tell(this.how, how);
    this.title.title = title;
    this.how.title = how;
    this.link.hidden = !shared;
    this.link.title = this.words('panel.shared');
    this.link.setAttribute('aria-label', this.link.title);
    const label = this.words('panel.picture', [badge, title].filter(Boolean).join(' '), how);
    this.canvas.setAttribute(
      'aria-label',
      map ? `${label}; ${this.words('panel.range', format(low), format(high))}` : label,
    );
    this.notes.hidden = !notes.length;
    const first = notes[0] ?? '';
    tell(this.note, notes.length > 1 ? this.words('panel.more', first, notes.length - 1) : first);
    this.note.dataset.all = notes.join('\n');
    this.root.classList.toggle('is-wrong', !!error);
    this.root.setAttribute('aria-busy', String(loading));
    /** @param {boolean} on */
    const wait = (on) => {
      this.root.classList.toggle('is-loading', on);
      tell(this.state, error || (on ? this.words('panel.loading') : ''));
    };
    if (loading && !error)
      this.late ||= setTimeout(wait, 250, true); // what comes sooner must not flicker
    else {
      clearTimeout(this.late);
      this.late = 0;
      wait(false);
    }
  }

  drawPicture() {
    const { map, image, palette, low, high, alpha, fade, smooth, zero, photo } = this.shown,
      { x, y, scale } = this.seen;
    this.painter.paint(this.context, {
      width: this.canvas.width,
      height: this.canvas.height,
      view: { x, y, scale: scale * (this.canvas.width / this.width) },
      placement: map?.placement ?? { frame: this.frame, cells: [0, 0, 1, 1], crop: null, flip: '' },
      shape: map?.shape ?? [1, 1],
      values: palette ? (map?.values ?? null) : null,
      palette: palette ?? new Uint8Array(768),
      low,
      high,
      zero,
      alpha,
      fade,
      smooth,
      image,
      photo,
    });
    // At rest, one finger scrolls the page; in an enlarged picture it moves the picture.
    this.canvas.style.touchAction = this.view ? 'none' : 'pan-x pan-y';
    this.root.classList.toggle('is-zoomed', !!this.view);
  }

  listItems() {
    const { detections, truth, boxes, score, hidden, classes, selected } = this.shown;
    /** @type {Item[]} */
    const items = [];
    /** @param {Box[]|null} list @param {'detection'|'truth'} kind @param {boolean} on */
    const add = (list, kind, on) =>
      list?.forEach((box, number) => {
        const chosen = selected?.kind === kind && selected.number === number;
        if (!chosen && (!on || hidden.includes(box.label) || (kind === 'detection' && (box.score ?? 1) < score)))
          return;
        const name = classes[box.label] ?? this.words('panel.class', box.label);
        const text = kind === 'truth' || box.score === null ? name : `${name} ${box.score.toFixed(2)}`;
        items.push({ box, number, kind, text, quiet: kind === 'truth' && boxes === 'both' }); // its detection has the same name
      });
    add(detections, 'detection', boxes === 'detections' || boxes === 'both');
    items.sort((a, b) => (b.box.score ?? 0) - (a.box.score ?? 0));
    add(truth, 'truth', boxes === 'truth' || boxes === 'both');
    this.items = items;
    this.hovered = null;
  }

  get marked() {
    const { selected } = this.shown;
    return this.items.find((item) => item.kind === selected?.kind && item.number === selected.number) ?? null;
  }

  drawOver() {
    const { overContext: context, width, height, seen, marked } = this;
    context.setTransform(this.over.width / width, 0, 0, this.over.height / height, 0, 0);
    context.clearRect(0, 0, width, height);
    this.drawNumbers();
    /** @param {number} x @param {number} y */
    const toScreen = (x, y) => frameToScreen(seen, width, height, x, y);
    const marks = this.shown.marks.map(({ kind, polygon, text }) => ({
      box: { polygon, label: 0, score: null },
      kind,
      text,
    }));
    drawBoxes(context, [...marks, ...this.items], { marked, hovered: this.hovered, width, height, toScreen });
    if (marked) this.drawSources(marked);
  }

  /** The rectangle of a cell on the screen. @param {FeatureMap} map @param {number} row @param {number} column */
  cellOnScreen(map, row, column) {
    const cell = cellQuad(map.placement, row, column),
      { seen } = this;
    const { x, y } = frameToScreen(seen, this.width, this.height, cell.x, cell.y);
    return { x, y, width: cell.width * seen.scale, height: cell.height * seen.scale };
  }

  /** The cells from which the chosen box comes. @param {Item} marked */
  drawSources(marked) {
    const {
      overContext: context,
      shown: { map },
    } = this;
    for (const cell of (map && marked.box.cells) || []) {
      if (!map || cell.shape?.[0] !== map.shape[0] || cell.shape[1] !== map.shape[1]) continue;
      const { x, y, width, height } = this.cellOnScreen(map, cell.row, cell.column);
      const cx = x + width / 2,
        cy = y + height / 2,
        a = Math.max(width, 7) / 2,
        b = Math.max(height, 7) / 2;
      context.beginPath();
      context.rect(cx - a, cy - b, 2 * a, 2 * b);
      for (const [dx, dy] of [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ]) {
        context.moveTo(cx + dx * (a + 3), cy + dy * (b + 3));
        context.lineTo(cx + dx * (a + 10), cy + dy * (b + 10));
      }
      for (const [line, colour] of /** @type {[number, string][]} */ ([
        [5, 'rgba(0,0,0,.8)'],
        [2.5, '#fff'],
      ])) {
        context.lineWidth = line;
        context.strokeStyle = colour;
        context.stroke();
      }
    }
  }

  /** The value of every cell on the screen, once cells are large enough for it. */
  drawNumbers() {
    const {
      overContext: context,
      width,
      height,
      seen,
      shown: { map, numbers },
    } = this;
    if (!map || !numbers || !this.view) return; // a map of few cells, seen whole, is a picture and not a table
    const size = this.cellOnScreen(map, 0, 0);
    if (size.width < CELL || size.height < CELL / 2) return;
    const [rows, columns] = map.shape,
      p = map.placement;
    const [top, left, tall, wide] = p.crop ?? [0, 0, ...p.frame];
    const from = screenToFrame(seen, width, height, 0, 0),
      to = screenToFrame(seen, width, height, width, height);
    /** @param {number} x @param {number} y */
    const at = (x, y) =>
      cellAt(
        p,
        rows,
        columns,
        Math.min(Math.max(x, left), left + wide - 1e-6),
        Math.min(Math.max(y, top), top + tall - 1e-6),
      );
    const a = at(from.x, from.y),
      b = at(to.x, to.y);
    if (!a || !b) return;
    context.font = `${Math.min(13, Math.max(10, size.width / 5))}px system-ui, sans-serif`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillStyle = '#fff';
    context.lineJoin = 'round';
    for (let row = Math.min(a.row, b.row); row <= Math.max(a.row, b.row); row++) {
      for (let column = Math.min(a.column, b.column); column <= Math.max(a.column, b.column); column++) {
        const cell = this.cellOnScreen(map, row, column),
          value = map.values[row * columns + column];
        let text = format(value);
        for (let digits = 3; digits > 0 && context.measureText(text).width > cell.width - 4; digits--)
          text = format(value, digits);
        context.strokeStyle = 'rgba(0,0,0,.25)';
        context.lineWidth = 1;
        context.strokeRect(cell.x, cell.y, cell.width, cell.height);
        context.strokeStyle = 'rgba(0,0,0,.7)';
        context.lineWidth = 2.5;
        context.strokeText(text, cell.x + cell.width / 2, cell.y + cell.height / 2);
        context.fillText(text, cell.x + cell.width / 2, cell.y + cell.height / 2);
      }
    }
    context.textAlign = 'start';
  }

  drawCursor() {
    const {
      cursor,
      width,
      height,
      seen,
      shown: { map },
    } = this;
    const [across, down, box] = this.lines;
    const at = cursor && frameToScreen(seen, width, height, cursor.x, cursor.y);
    const hidden = !at || at.x < 0 || at.y < 0 || at.x > width || at.y > height;
    for (const line of [across, down, box]) line.hidden = hidden;
    if (hidden || !at || !cursor) return;
    across.style.transform = `translateY(${at.y}px)`;
    down.style.transform = `translateX(${at.x}px)`;
    const cell = map && cellAt(map.placement, map.shape[0], map.shape[1], cursor.x, cursor.y);
    box.hidden = !cell;
    if (!map || !cell) return;
    const quad = this.cellOnScreen(map, cell.row, cell.column);
    box.style.transform = `translate(${quad.x}px,${quad.y}px)`;
    box.style.width = `${quad.width}px`;
    box.style.height = `${quad.height}px`;
  }

  drawScale() {
    const { map, low, high, palette, alpha, fade, zero, photo, image } = this.shown;
    const { scale, bar, ticks, marks } = this;
    scale.hidden = !map || !palette;
    if (!map || !palette) return;
    const { nan, inf } = this.kept.keep('marks', [map], () => countMarks(map.values));
    const beyond = this.kept.keep('beyond', [map, low, high], () =>
      sharesBeyond(map.values, map.shape, map.inside, low, high),
    );
    const marked = nan + inf > 0,
      constant = !(high > low);
    const seen = seenOf(lookupOf(palette, { marked, opaque: photo === 'none' || !image, alpha, fade, zero }), marked);
    const count = seen.length / 4,
      middle = 4 * Math.floor(count / 2);
    if (constant) for (let i = 0; i < seen.length; i++) seen[i] = seen[middle + (i % 4)];
    bar.width = count;
    bar.getContext('2d')?.putImageData(new ImageData(seen, count, 1), 0, 0);
    ticks.replaceChildren();
    if (constant) ticks.append(h('span', { class: 'panel-tick is-low' }, this.words('panel.constant', format(low))));
    else {
      const ends = [format(low), format(high)],
        wide = scale.clientWidth || this.width || 240;
      let free = 7 * ends[0].length + 10; // an estimate of the letters' width is enough to keep them apart
      const inner = niceTicks(low, high, Math.max(3, Math.min(10, wide / 80)));
      ticks.append(h('span', { class: 'panel-tick is-low' }, ends[0]));
      for (const value of inner) {
        const text = format(value),
          half = 3.5 * text.length,
          at = ((value - low) / (high - low)) * wide;
        if (at - half < free || at + half > wide - 7 * ends[1].length - 10) continue;
        free = at + half + 10;
        const tick = h('span', { class: 'panel-tick' }, text);
        tick.style.left = `${(100 * (value - low)) / (high - low)}%`;
        ticks.append(tick);
      }
      ticks.append(h('span', { class: 'panel-tick is-high' }, ends[1]));
    }
    marks.replaceChildren();
    /** @param {string} key @param {number} amount @param {string} text @param {ArrayLike<number>|null} colour */
    const add = (key, amount, text, colour) => {
      if (!amount) return;
      const swatch = h('i', { class: colour ? 'panel-swatch' : 'panel-swatch is-outside' });
      if (colour) swatch.style.backgroundColor = `rgb(${colour[0]},${colour[1]},${colour[2]})`;
      marks.append(h('li', {}, swatch, this.words(key, text)));
    };
    add('panel.below', beyond.below, percent(beyond.below), seen.subarray(0, 3));
    add('panel.above', beyond.above, percent(beyond.above), seen.subarray(seen.length - 4));
    add('panel.nan', nan, String(nan), NAN_COLOUR);
    add('panel.inf', inf, String(inf), INF_COLOUR);
    const outside = outsideCount(map.shape, map.inside);
    add('panel.outside', outside, String(outside), null);
  }

  // Pointer, wheel and keys

  /** @param {MouseEvent} event */
  place(event) {
    const area = this.canvas.getBoundingClientRect();
    return { x: event.clientX - area.left, y: event.clientY - area.top };
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button) return;
    this.pointers.set(event.pointerId, this.place(event));
    this.canvas.setPointerCapture(event.pointerId);
    if (this.pointers.size === 1) this.moved = 0;
  }

  /** @param {PointerEvent} event */
  move(event) {
    const at = this.place(event),
      before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== 'touch') this.point(screenToFrame(this.seen, this.width, this.height, at.x, at.y));
      return;
    }
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.moved += Math.hypot(at.x - before.x, at.y - before.y);
    if (this.moved < 4 && !others.length) return; // a click may tremble
    this.pointers.set(event.pointerId, at);
    const { width, height } = this,
      view = this.seen;
    const from = others[0] ? middle(before, others[0]) : before,
      to = others[0] ? middle(at, others[0]) : at;
    let next = { ...view, x: view.x - (to.x - from.x) / view.scale, y: view.y - (to.y - from.y) / view.scale };
    if (others[0])
      next = zoomAbout(
        next,
        width,
        height,
        to.x,
        to.y,
        distance(at, others[0]) / Math.max(1, distance(before, others[0])),
      );
    this.root.classList.add('is-dragged');
    this.change(next);
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (!this.pointers.size) this.root.classList.remove('is-dragged');
    if (event.type === 'pointercancel' || this.moved >= 4) return;
    const at = this.place(event),
      point = screenToFrame(this.seen, this.width, this.height, at.x, at.y);
    if (event.pointerType === 'touch') this.point(point);
    this.choose(point);
  }

  /** @param {WheelEvent} event */
  roll(event) {
    if (!this.shown.wheel && !event.ctrlKey && !event.metaKey) return;
    if (!this.view && event.deltaY > 0 && !event.ctrlKey) return; // it cannot become smaller, so the page scrolls
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const at = this.place(event),
      factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016));
    this.change(zoomAbout(this.seen, this.width, this.height, at.x, at.y, factor));
    this.point(screenToFrame(this.seen, this.width, this.height, at.x, at.y));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = /** @type {Record<string, number[]>} */ ({
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    })[event.key];
    const { width, height, seen } = this;
    if (step) this.step(step[0], step[1]);
    else if (event.key === '+' || event.key === '=' || event.key === '-') {
      const at = this.cursor
        ? frameToScreen(seen, width, height, this.cursor.x, this.cursor.y)
        : { x: width / 2, y: height / 2 };
      this.change(zoomAbout(seen, width, height, at.x, at.y, event.key === '-' ? 1 / 1.4 : 1.4));
    } else if (event.key === '0') this.change(null);
    else if (event.key === 'Enter' && this.cursor) this.choose(this.cursor);
    else return;
    event.preventDefault();
    event.stopPropagation(); // the page has other uses for these keys
  }

  /** Move the cross-hair by a cell. @param {number} right @param {number} down */
  step(right, down) {
    const {
      shown: { map },
      frame,
      seen,
    } = this;
    const cell = map ? cellQuad(map.placement, 0, 0) : { width: 16, height: 16 };
    const from = this.cursor ?? { x: seen.x - right * cell.width, y: seen.y - down * cell.height };
    let x = Math.min(Math.max(from.x + right * cell.width, 0), frame[1] - 0.5),
      y = Math.min(Math.max(from.y + down * cell.height, 0), frame[0] - 0.5);
    const found = map && cellAt(map.placement, map.shape[0], map.shape[1], x, y);
    if (map && found) {
      const quad = cellQuad(map.placement, found.row, found.column),
        cx = quad.x + quad.width / 2,
        cy = quad.y + quad.height / 2;
      if (cellAt(map.placement, map.shape[0], map.shape[1], cx, cy)) [x, y] = [cx, cy]; // the middle, unless it lies off the image
    }
    const at = frameToScreen(seen, this.width, this.height, x, y);
    if (this.view && (at.x < 0 || at.y < 0 || at.x > this.width || at.y > this.height)) this.change({ ...seen, x, y });
    const hover = this.point({ x, y });
    if (hover)
      tell(
        this.said,
        hover.value === null
          ? this.words('panel.nocell')
          : this.words('panel.cell', hover.row, hover.column, format(hover.value)),
      );
  }

  /** The pointer is at this pixel of the frame. @param {{x: number, y: number}|null} point */
  point(point) {
    const {
      frame,
      shown: { map },
      seen,
    } = this;
    const inside = point && point.x >= 0 && point.y >= 0 && point.x < frame[1] && point.y < frame[0] ? point : null;
    const had = this.cursor !== null || this.hovered !== null;
    const item = inside && boxAt(this.items, inside.x, inside.y, REACH / seen.scale);
    if (item !== this.hovered) {
      this.hovered = item;
      this.ask('over');
    }
    this.setCursor(inside);
    this.own = !!inside;
    if (!inside) {
      if (had) this.onHover(null);
      return null;
    }
    const cell = map && cellAt(map.placement, map.shape[0], map.shape[1], inside.x, inside.y);
    /** @type {Hover} */
    const hover = {
      x: inside.x,
      y: inside.y,
      row: cell ? cell.row : null,
      column: cell ? cell.column : null,
      value: map && cell ? map.values[cell.row * map.shape[1] + cell.column] : null,
      level: map?.level ?? null,
      place: map?.place ?? '',
      box: item && { number: item.number, kind: item.kind },
    };
    this.canvas.style.cursor = item && !this.root.classList.contains('is-dragged') ? 'pointer' : '';
    this.onHover(hover);
    return hover;
  }

  /** @param {{x: number, y: number}} point */
  choose(point) {
    const item = boxAt(this.items, point.x, point.y, REACH / this.seen.scale);
    if (item) this.onBox(item.number, item.kind);
    else this.onBox(null, '');
  }

  /** The user has changed the view. @param {View|null} view */
  change(view) {
    const { frame, width, height } = this;
    let next = view && clampView(view, frame, width, height);
    if (next && next.scale <= fitView(frame, width, height).scale * 1.001) next = null;
    if (next === null && this.view === null) return;
    this.setView(next);
    this.onView(this.view);
  }
}

/** @param {HTMLElement} element @param {string} text */
function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

/** @param {number} share */
const percent = (share) => `${share < 0.001 ? '< 0.1' : format(100 * share, 2)} %`;

/** @param {{x: number, y: number}} a @param {{x: number, y: number}} b */
const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });

/** @param {{x: number, y: number}} a @param {{x: number, y: number}} b */
const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);
