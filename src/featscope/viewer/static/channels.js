// All channels of a map, as tiles that lie as the picture lies.
import { BestRow } from './channels-best.js';
import { segment, slider } from './controls.js';
import { h, icon, setText } from './dom.js';
import { INF_COLOUR, NAN_COLOUR, lookupOf } from './draw/palette.js';
import { cellAt, direction } from './draw/placement.js';
import { format } from './draw/ranges.js';
import {
  boundsOfTiles,
  codeColours,
  layoutOf,
  pool,
  putTile,
  sizeFor,
  spansOf,
  tileSides,
  twoSigns,
  valueAt,
  blockOf,
} from './draw/tiles.js';
import { keyOf, isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */
/** @typedef {import('./state.js').State} State */
/** @typedef {import('./draw/tiles.js').Tiles} Tiles */
/** @typedef {Tiles & {placement: import('./draw/placement.js').Placement, block: number, full: number[], marks: Set<number>, by: 'peak'|'mean', key: string}} Shown  block: cells of the map per code; full: rows and columns of the map */

const ORDERS = ['number', 'energy', 'sparsity', 'contrast', 'similarity'];
const LEAST = 24,
  MOST = 256; // pixels
/** @type {Record<string, (across: number) => number>} */
const MOVES = {
  ArrowRight: () => 1,
  ArrowLeft: () => -1,
  ArrowDown: (across) => across,
  ArrowUp: (across) => -across,
  Home: () => -1e9,
  End: () => 1e9,
};

/** @param {number} size */
const clampSize = (size) => Math.min(MOST, Math.max(LEAST, Math.round(size)));
/** @param {string} text */
const similarTo = (text) => (text.startsWith('similarity:') ? Number(text.slice(11)) : null);

/** The classes whose objects count, by comma; null for all. @param {number} count @param {number[]} hidden */
const shownClasses = (count, hidden) =>
  hidden.length
    ? Array.from({ length: count }, (_, label) => label)
        .filter((label) => !hidden.includes(label))
        .join(',')
    : null;

class Mosaic {
  /** @param {HTMLElement} root @param {App} app */
  constructor(root, app) {
    this.app = app;
    const { store } = app;
    const channel = store.get().reduce.match(/^channel:(\d+)$/);
    this.chosen = channel ? Number(channel[1]) : -1; // a channel; -1: the first in the order
    this.turn = 0;
    this.asked = 0;
    this.touched = false;
    this.room = matchMedia('(hover: none)').matches ? 120 : 96; // a smaller tile has its buttons below it
    /** @type {Shown|null} */
    this.tiles = null;
    /** The map as the inspector knows it: its facts and its colours. @type {any} */
    this.header = null;
    /** The reply that it was made from. @type {any} */
    this.source = null;
    /** The channels in their order, their values, and what the order was made for. */
    this.order = { numbers: /** @type {number[]} */ ([]), values: /** @type {number[]|null} */ (null), key: '' };
    /** How the rows lay when last drawn. @type {{key: string, across: number, pitch: number}|null} */
    this.shape = null;
    this.pointed = false;
    this.inTile = { x: 0, y: 0 };
    /** @type {View|null} */
    this.view = null;
    /** @type {Record<string, {key: unknown[], value: any}>} */
    this.kept = {};
    /** @type {BestRow|null} */
    this.best = null;
    this.listening = new AbortController();
    const { signal } = this.listening;

    this.title = h('h2', { class: 'name' });
    this.facts = h('span', { class: 'facts name' });
    this.orderBox = h('select', {
      'aria-label': t('channels.order'),
      onchange: () => this.setOrder(this.orderBox.value),
    });
    this.by = segment(
      'by',
      t('channels.by'),
      [
        ['peak', t('channels.peak')],
        ['mean', t('channels.mean')],
      ],
      (by) => store.set({ by: /** @type {State['by']} */ (by) }),
    );
    this.by.element.title = t('channels.by_why');
    this.scale = segment(
      'scale',
      t('channels.scale'),
      [
        ['own', t('channels.own')],
        ['one', t('channels.one')],
      ],
      (one) => store.set({ shared: one === 'one' }),
    );
    this.size = slider(
      t('channels.size'),
      1 / (MOST - LEAST),
      (share) => this.setSize(LEAST + share * (MOST - LEAST)),
      () => `${this.pixels} px`,
    );
    this.said = h('p', { class: 'hint', role: 'status' });
    this.scaleWords = h('span', { class: 'name' });
    this.bar = h('canvas', { class: 'strip', width: '254', height: '1', 'aria-hidden': 'true' });
    this.low = h('span', {});
    this.high = h('span', {});
    this.marks = h('span', { class: 'tile-marks' });
    this.about = h('p', { class: 'tile-about name' });
    this.bestBox = h('section', { class: 'best', hidden: true });

    this.canvas = h('canvas', { 'aria-hidden': 'true' });
    /** @param {Parameters<typeof icon>[0]} sign @param {string} words @param {string} key @param {() => void} act */
    const tool = (sign, words, key, act) =>
      h(
        'button',
        {
          type: 'button',
          class: 'tool',
          tabindex: '-1',
          title: `${t(words)} (${key})`,
          'aria-label': t(words),
          'aria-keyshortcuts': key,
          onclick: (/** @type {Event} */ event) => {
            event.stopPropagation();
            act();
          },
        },
        icon(sign),
      );
    this.tools = h(
      'span',
      { class: 'tile-tools' },
      tool('similar', 'channels.similar', 's', () => this.similar()),
      tool('samples', 'channels.best', 'b', () => this.showBest()),
    );
    this.cell = h('div', { class: 'tile', id: 'tile', role: 'gridcell', 'aria-selected': 'true' }, this.tools);
    this.row = h('div', { class: 'tile-row', role: 'row' }, this.cell);
    this.layer = h('div', { class: 'tile-layer', role: 'presentation' }, this.canvas, this.row);
    this.space = h('div', { class: 'tile-space', role: 'presentation' }, this.layer);
    this.grid = h(
      'div',
      { class: 'tiles', role: 'grid', tabindex: '0', 'aria-label': t('channels.grid'), 'aria-readonly': 'true' },
      this.space,
    );
    root.append(
      h(
        'div',
        { class: 'channels' },
        h('div', { class: 'tile-head' }, this.title, this.facts),
        h(
          'div',
          { class: 'tile-bar' },
          h('label', { class: 'tile-order' }, h('span', { text: t('channels.order') }), this.orderBox),
          this.size.element,
          this.by.element,
        ),
        h(
          'div',
          { class: 'tile-bar' },
          this.scale.element,
          h('div', { class: 'tile-scale' }, this.scaleWords, this.low, this.bar, this.high, this.marks),
        ),
        this.said,
        this.bestBox,
        this.grid,
        h(
          'div',
          { class: 'tile-foot' },
          this.about,
          h('p', { class: 'hint name', text: t('channels.keys'), title: t('channels.keys') }),
        ),
      ),
    );

    const { grid } = this;
    const paint = () => this.ask();
    grid.addEventListener('scroll', paint, { passive: true });
    grid.addEventListener('keydown', (event) => this.key(event));
    grid.addEventListener('focus', paint);
    grid.addEventListener('blur', paint);
    grid.addEventListener('pointermove', (event) => this.point(event));
    grid.addEventListener('pointerleave', () => {
      this.pointed = false;
      app.showHover(null);
    });
    grid.addEventListener('pointerdown', (event) => {
      this.touched = event.pointerType !== 'mouse' && this.at(event) !== this.chosen;
    });
    grid.addEventListener('click', (event) => this.click(event));
    // The keys of a tile also act under the pointer, without a click before.
    addEventListener(
      'keydown',
      (event) => {
        if (this.pointed && event.target === document.body && 'sb+-='.includes(event.key)) this.key(event);
      },
      { signal, capture: true },
    );
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint, { signal });
    this.sizes = new ResizeObserver(() => {
      this.anchor();
      this.draw();
    });
    this.sizes.observe(grid);
  }

  close() {
    this.turn++;
    cancelAnimationFrame(this.asked);
    this.sizes.disconnect();
    this.listening.abort();
    this.best?.close();
    for (const role of ['channels', 'ranks']) this.app.transport.release(role);
    this.app.showHover(null);
  }

  // What is asked

  /** @param {State} state @param {View} view */
  async update(state, view) {
    const { app, grid } = this;
    const turn = ++this.turn;
    this.view = view;
    const { group, level, sample } = view;
    const found = sample?.maps.find((map) => map.group === group && map.level === level);
    this.tell();
    if (!sample || group === null || !found) {
      this.tiles = null;
      this.say(t(sample ? 'stage.no_maps' : 'stage.no_samples'));
      app.shown({ header: null, low: null, high: null });
      this.draw();
      return;
    }
    const { reduce: _, ...params } = app.mapParams(view);
    const mapKey = keyOf('map', params),
      labels =
        state.order === 'contrast' ? shownClasses(app.about.runs[state.run].classes.length, state.classes) : null,
      orderKey = `${mapKey}&${state.order}&${labels}`;
    if (this.tiles?.key !== mapKey) grid.setAttribute('aria-busy', 'true');
    else this.draw();
    const began = performance.now();
    /** @param {Promise<any>} promise */
    const tried = (promise) =>
      promise.then(
        (value) => ({ value, error: null }),
        (error) => ({ value: null, error }),
      );
    const size = sizeFor(this.pixels * devicePixelRatio);
    const byNumber = { channels: Array.from({ length: found.shape[0] }, (__, i) => i), values: null };
    const [asked, ranks] = await Promise.all([
      tried(app.ask('channels', { ...params, by: state.by, size }, { role: 'channels' })),
      state.order === 'number'
        ? { value: byNumber, error: null }
        : this.order.key === orderKey
          ? { value: { channels: this.order.numbers, values: this.order.values }, error: null }
          : tried(app.ask('ranks', { ...params, order: state.order, labels }, { role: 'ranks' })),
    ]);
    // A saved report holds peaks only.
    const reply =
      asked.error?.name === 'Missing' && state.by === 'mean'
        ? await tried(app.ask('channels', { ...params, size }, { role: 'channels' }))
        : asked;
    if (turn !== this.turn || [reply, ranks].some(({ error }) => isAbort(error))) return;
    grid.setAttribute('aria-busy', 'false');
    if (!reply.value) {
      this.tiles = null;
      this.say(reply.error.message);
      this.draw();
      return;
    }
    const { header, data } = reply.value,
      [count, rows, columns] = header.shape;
    const full = header.map.shape,
      moved = this.order.key !== orderKey;
    if (this.tiles?.codes !== data)
      this.tiles = {
        codes: data,
        lows: header.lows,
        highs: header.highs,
        rows,
        columns,
        placement: header.placement,
        block: blockOf(full, rows, columns),
        full,
        marks: new Set(),
        by: asked.error ? 'peak' : state.by,
        key: mapKey,
      };
    const numbers = /** @type {number[]} */ ((ranks.value ?? byNumber).channels).filter((number) => number < count);
    const reordered = this.order.numbers.length === count && moved && String(numbers) !== String(this.order.numbers);
    this.order = { numbers, values: ranks.value?.values ?? null, key: ranks.error ? '' : orderKey };
    if (reordered || this.chosen < 0 || this.chosen >= count) this.chosen = numbers[0];
    const unranked = !ranks.error
      ? ''
      : state.order === 'contrast' && !sample.detections.length && !sample.truth.length
        ? t('channels.no_boxes')
        : t('channels.in_numbers', ranks.error.message.replace(/[.。]$/, ''));
    this.say(
      [unranked, asked.error && t('channels.peaks'), ...sample.notes, ...header.map.notes].filter(Boolean).join('  '),
    );
    app.showError(null);
    const zero = twoSigns(header.lows, header.highs);
    if (this.source !== header)
      [this.source, this.header] = [
        header,
        { ...header.map, range: zero ? 'symmetric' : 'map', colormap: zero ? 'colorbrewer:RdBu_r' : 'turbo', zero },
      ];
    this.tell();
    if (moved) {
      if (reordered) grid.scrollTop = 0;
      else this.reveal();
    }
    this.draw();
    performance.measure('featscope channels', { start: began });
    setTimeout(() => this.findMarks(turn), 50);
    this.best?.update(view);
  }

  // What the user does

  /** @param {string} order */
  setOrder(order) {
    this.app.store.set({ order: order === 'similarity' ? `similarity:${this.chosen}` : order });
  }

  /** @param {number} size */
  setSize(size) {
    this.app.store.set({ size: clampSize(size) });
  }

  similar() {
    this.setOrder('similarity');
  }

  open() {
    this.app.store.set({ mode: 'stage', reduce: `channel:${this.chosen}`, explanation: null });
  }

  showBest() {
    const { app, view, bestBox } = this;
    if (!view) return;
    this.best ??= new BestRow(bestBox, app, () => {
      this.best = null;
      this.grid.focus();
    });
    this.best.show(this.chosen, view, this.header);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.tiles) return;
    const { numbers } = this.order,
      place = numbers.indexOf(this.chosen);
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.layout.pitch)) * this.layout.across;
    const by =
      event.key === 'PageDown' ? page : event.key === 'PageUp' ? -page : MOVES[event.key]?.(this.layout.across);
    if (by !== undefined) {
      const next =
        Math.abs(by) > 1 && Math.abs(by) < 1e9 && (place + by < 0 || place + by >= numbers.length)
          ? place
          : Math.min(numbers.length - 1, Math.max(0, place + by));
      this.choose(numbers[next], true);
    } else if (event.key === 'Enter') this.open();
    else if (event.key === 's') this.similar();
    else if (event.key === 'b') this.showBest();
    else if (event.key === '+' || event.key === '=') this.setSize(this.pixels * 1.25);
    else if (event.key === '-') this.setSize(this.pixels / 1.25);
    else if (event.key === 'Escape' && this.best) this.best.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} channel @param {boolean} [reveal] */
  choose(channel, reveal = false) {
    if (channel === undefined) return;
    this.chosen = channel;
    if (reveal) this.reveal();
    this.ask();
  }

  /** The channel under the pointer. @param {PointerEvent|MouseEvent} event */
  at(event) {
    const { grid, tiles, layout } = this;
    if (!tiles) return null;
    const area = grid.getBoundingClientRect(),
      x = event.clientX - area.left - layout.left,
      y = event.clientY - area.top + grid.scrollTop - layout.top;
    const column = Math.floor(x / layout.stepX),
      row = Math.floor(y / layout.pitch);
    this.inTile = {
      x: (x - column * layout.stepX) / layout.tile.width,
      y: (y - row * layout.pitch) / layout.tile.height,
    };
    const within = column >= 0 && column < layout.across && row >= 0 && this.inTile.x < 1;
    return within ? (this.order.numbers[row * layout.across + column] ?? null) : null;
  }

  /** @param {PointerEvent} event */
  point(event) {
    const { app, tiles, view } = this;
    if (/** @type {Element} */ (event.target).closest('.tile-tools') || !tiles || !view) return;
    this.pointed = true;
    const channel = this.at(event),
      { x, y } = this.inTile;
    if (channel !== null && channel !== this.chosen && event.pointerType === 'mouse') this.choose(channel);
    if (channel === null || y >= 1) return app.showHover(null);
    const { placement, full, block, codes, rows, columns } = tiles,
      [top, left, height, width] = placement.crop ?? [0, 0, ...placement.frame];
    const at = { x: left + x * width, y: top + y * height },
      cell = cellAt(placement, full[0], full[1], at.x, at.y);
    if (!cell) return app.showHover(null);
    const row = Math.floor(cell.row / block),
      column = Math.floor(cell.column / block);
    const value = valueAt(codes[(channel * rows + row) * columns + column], tiles.lows[channel], tiles.highs[channel]);
    app.showHover({
      ...at,
      row: cell.row,
      column: cell.column,
      value,
      level: view.level,
      place: this.header?.place ?? '',
      box: null,
    });
  }

  /** @param {MouseEvent} event */
  click(event) {
    const channel = this.at(event);
    if (channel === null) return;
    const first = this.touched; // a finger chooses first, because it cannot point
    this.choose(channel);
    if (!first) this.open();
  }

  // What is shown

  get pixels() {
    return clampSize(this.app.store.get().size);
  }

  /** @param {string} text */
  say(text) {
    setText(this.said, text);
    this.said.hidden = !text;
  }

  /** The controls and the words of the head. */
  tell() {
    const { app, view, tiles, orderBox } = this;
    if (!view) return;
    const { state } = view,
      to = similarTo(state.order);
    setText(this.title, app.layerName(state.run, view.group, view.level));
    this.title.title = this.title.textContent ?? '';
    const facts = tiles
      ? [t('channels.count', tiles.lows.length), t('channels.cells', tiles.full[0], tiles.full[1])]
      : [];
    if (tiles && tiles.block > 1) facts.push(t(`channels.blocks_${tiles.by}`, tiles.block));
    setText(this.facts, facts.join(' · '));
    this.facts.title = tiles && tiles.block > 1 ? t('channels.by_why') : '';
    orderBox.replaceChildren(
      ...ORDERS.map((order) =>
        h('option', {
          value: order,
          title: t(`channels.${order}_why`),
          text: order === 'similarity' && to !== null ? t('channels.similar_to', to) : t(`channels.${order}`),
        }),
      ),
    );
    orderBox.value = state.order.split(':')[0];
    orderBox.title = t(`channels.${orderBox.value}_why`);
    this.by.set(state.by);
    this.scale.set(state.shared || this.fixed ? 'one' : 'own');
    this.size.set((this.pixels - LEAST) / (MOST - LEAST));
  }

  get fixed() {
    return /^[-+\d.]/.test(this.view?.state.range ?? '');
  }

  /**
   * A result that is kept until what it was made of changes.
   * @template T
   * @param {string} name @param {unknown[]} key @param {() => T} make @returns {T}
   */
  keep(name, key, make) {
    const before = this.kept[name];
    if (before && before.key.length === key.length && before.key.every((part, i) => Object.is(part, key[i])))
      return before.value;
    const value = make();
    this.kept[name] = { key, value };
    return value;
  }

  get layout() {
    const { tiles, grid } = this,
      size = this.pixels,
      pad = 8;
    const tile = tiles ? tileSides(tiles.placement, size) : { width: size, height: size };
    return {
      tile,
      left: pad,
      top: pad,
      ...layoutOf(this.order.numbers.length, grid.clientWidth - 2 * pad, tile, size < 48 ? 4 : 8, size < 48 ? 12 : 16),
    };
  }

  /** Bring the chosen tile into sight. */
  reveal() {
    const { grid, layout } = this,
      place = this.order.numbers.indexOf(this.chosen);
    if (place < 0) return;
    this.space.style.height = `${layout.height + 2 * layout.top}px`;
    const top = Math.floor(place / layout.across) * layout.pitch,
      bottom = top + layout.pitch + 2 * layout.top;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (bottom > grid.scrollTop + grid.clientHeight) grid.scrollTop = bottom - grid.clientHeight;
  }

  /** When rows change their lengths, the first tile in sight stays in sight. */
  anchor() {
    const { grid, layout } = this;
    const key = [layout.across, layout.pitch].join();
    if (this.shape && this.shape.key !== key) {
      const first = Math.round(grid.scrollTop / this.shape.pitch) * this.shape.across;
      this.space.style.height = `${layout.height + 2 * layout.top}px`;
      grid.scrollTop = Math.floor(first / layout.across) * layout.pitch;
    }
    this.shape = { key, across: layout.across, pitch: layout.pitch };
  }

  ask() {
    if (!this.asked) this.asked = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    const { app, view, tiles, grid, canvas, space, row } = this;
    row.hidden = !tiles;
    if (!view || !tiles || !this.header) {
      canvas.width = 0;
      space.style.height = '0';
      return;
    }
    this.anchor();
    const { state } = view,
      { numbers, values } = this.order,
      { layout } = this,
      { tile, across, pitch, stepX, left, top } = layout,
      ratio = devicePixelRatio || 1;
    space.style.height = `${layout.height + 2 * top}px`;
    const width = Math.round(grid.clientWidth * ratio),
      height = Math.round(grid.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.style.width = `${grid.clientWidth}px`;
    canvas.style.height = `${grid.clientHeight}px`;
    const look = app.lookFor(this.header),
      { zero } = look;
    const colours = this.keep('colours', [look.palette], () =>
      lookupOf(look.palette, { marked: true, opaque: true, alpha: 1, fade: false, zero }),
    );
    const bounds = this.keep('bounds', [tiles, state.range, state.shared, zero], () =>
      boundsOfTiles(tiles, state.range, state.shared, zero),
    );
    const wide = Math.round(tile.width * ratio),
      tall = Math.round(tile.height * ratio);
    const [down, over] = this.keep('spans', [tiles, wide, tall], () => [
      spansOf(direction(tiles.placement, 'y'), tall, tiles.block, tiles.rows),
      spansOf(direction(tiles.placement, 'x'), wide, tiles.block, tiles.columns),
    ]);
    const single = down.single && over.single;
    const [lines, line] = this.keep('plain', [wide, tall], () => [
      Int32Array.from({ length: tall }, (_, i) => i),
      Int32Array.from({ length: wide }, (_, i) => i),
    ]);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const picture = this.keep('picture', [width, height], () => context.createImageData(width, height)),
      pixels = new Uint32Array(picture.data.buffer);
    pixels.fill(0);

    const scroll = grid.scrollTop,
      from = Math.max(0, Math.floor((scroll - top) / pitch)),
      to = Math.min(layout.rows, Math.ceil((scroll + grid.clientHeight - top) / pitch));
    for (let place = from * across, end = Math.min(numbers.length, to * across); place < end; place++) {
      const channel = numbers[place],
        low = tiles.lows[channel],
        high = tiles.highs[channel],
        [a, b] = bounds[channel];
      const lookup = codeColours(colours, low, high, a, b);
      const x = Math.round((left + (place % across) * stepX) * ratio),
        y = Math.round((top + Math.floor(place / across) * pitch - scroll) * ratio);
      if (single)
        putTile(
          pixels,
          width,
          x,
          y,
          tiles.codes,
          channel * tiles.rows * tiles.columns,
          down.from,
          over.from,
          tiles.columns,
          lookup,
        );
      else putTile(pixels, width, x, y, pool(tiles, channel, down, over, tiles.by), 0, lines, line, wide, lookup);
    }
    context.putImageData(picture, 0, 0);

    const style = getComputedStyle(grid),
      small = this.pixels < 48,
      base = tile.height + (small ? 10 : 13),
      reference = similarTo(state.order);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = `${small ? 10 : 11}px ${style.fontFamily}`;
    const text = style.color,
      muted = style.getPropertyValue('--muted');
    for (let place = from * across, end = Math.min(numbers.length, to * across); place < end; place++) {
      const channel = numbers[place],
        x = left + (place % across) * stepX,
        y = top + Math.floor(place / across) * pitch - scroll + base;
      const name = reference === channel && values ? `${channel} ●` : String(channel);
      context.fillStyle = text;
      context.textAlign = 'left';
      context.fillText(name, x, y);
      const value = values?.[place];
      if (value === undefined || tile.width < 56) continue;
      context.fillStyle = muted;
      context.textAlign = 'right';
      context.fillText(format(value, 3), x + tile.width, y);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.mark(layout, scroll, bounds, colours);
  }

  /** The chosen tile: its frame, its words, and the scale. @param {Mosaic['layout']} layout @param {number} scroll @param {[number, number][]} bounds @param {Uint32Array} colours */
  mark({ tile, across, pitch, stepX, left, top, rows }, scroll, bounds, colours) {
    const { tiles, app, view, cell, row, grid } = this,
      { numbers, values } = this.order;
    if (!tiles || !view) return;
    const place = numbers.indexOf(this.chosen),
      value = values?.[place],
      order = view.state.order.split(':')[0];
    const x = left + (place % across) * stepX,
      y = top + Math.floor(place / across) * pitch - scroll;
    row.hidden = place < 0 || y < -tile.height || y > grid.clientHeight;
    Object.assign(cell.style, {
      width: `${tile.width}px`,
      height: `${tile.height}px`,
      transform: `translate(${x}px, ${y}px)`,
    });
    this.tools.classList.toggle('below', tile.width < this.room || tile.height < 36);
    this.tools.classList.toggle('right', tile.width < this.room && x > grid.clientWidth / 2);
    const low = tiles.lows[this.chosen],
      high = tiles.highs[this.chosen];
    const cells = tiles.rows * tiles.columns,
      codes = tiles.codes.subarray(this.chosen * cells, (this.chosen + 1) * cells);
    const words = [
      t('channels.channel', this.chosen),
      low < high
        ? t('channels.values', format(low), format(high))
        : codes.some((code) => code < 254)
          ? t('channels.constant', format(low))
          : t('channels.nothing'),
    ];
    if (value !== undefined)
      words.push(
        `${view.state.order.includes(':') ? t('channels.similar_to', similarTo(view.state.order)) : t(`channels.${order}`)} ${format(value, 3)}`,
      );
    setText(this.about, words.join('  ·  '));
    cell.setAttribute('aria-label', words.join(', '));
    grid.setAttribute('aria-activedescendant', row.hidden ? '' : 'tile');
    for (const [element, name, number] of /** @type {[HTMLElement, string, number][]} */ ([
      [grid, 'rowcount', rows],
      [grid, 'colcount', across],
      [row, 'rowindex', Math.floor(place / across) + 1],
      [cell, 'colindex', (place % across) + 1],
    ]))
      element.setAttribute(`aria-${name}`, String(number));

    const one = view.state.shared || this.fixed,
      [a, b] = bounds[this.chosen] ?? [0, 0];
    setText(this.scaleWords, one ? t('channels.one_words') : t('channels.channel', this.chosen));
    setText(this.low, format(a, 3));
    setText(this.high, format(b, 3));
    this.keep('bar', [colours], () => {
      const bytes = new Uint8ClampedArray(colours.slice(0, 254).buffer);
      this.bar.getContext('2d')?.putImageData(new ImageData(bytes, 254, 1), 0, 0);
      return colours;
    });
    this.keep('shown', [this.header, a, b], () => {
      app.shown({ header: this.header, low: a, high: b });
      return a;
    });
  }

  /** Whether the legend needs NaN and infinity; looked for when the picture is on the screen. @param {number} turn */
  findMarks(turn) {
    const { tiles, marks } = this;
    if (turn !== this.turn || !tiles) return;
    const found = this.keep('marks', [tiles], () => {
      let seen = 0;
      for (let i = 0; i < tiles.codes.length && seen < 3; i++) if (tiles.codes[i] > 253) seen |= tiles.codes[i] - 253;
      return seen;
    });
    marks.replaceChildren(
      .../** @type {[number, string, number[]][]} */ ([
        [2, 'nan', NAN_COLOUR],
        [1, 'infinite', INF_COLOUR],
      ])
        .filter(([bit]) => found & bit)
        .map(([, name, colour]) => {
          const swatch = h('i', { class: 'panel-swatch' });
          swatch.style.background = `rgb(${colour})`;
          return h('span', {}, swatch, t(`channels.${name}`));
        }),
    );
  }
}

/** @type {Mosaic|null} */
let mosaic = null;

/** @type {import('./main.js').Mode|null} */
export const channels = {
  mount: (root, app) => {
    mosaic = new Mosaic(root, app);
  },
  update: (state, view) => mosaic?.update(state, view),
  unmount: () => {
    mosaic?.close();
    mosaic = null;
  },
};
