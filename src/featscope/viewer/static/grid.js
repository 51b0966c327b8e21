// Many maps at once: all layers and levels of one image, or one layer and level of many images. Only tiles in sight exist.
import { segment } from './controls.js';
import { h, setText } from './dom.js';
import { Linked, Rows } from './linked.js';
import { levelsOf, scalesOf, tilesAcross } from './match.js';
import { Panel } from './panel.js';
import { boundsFor, common, featureMap } from './stage.js';
import { isShared } from './state.js';
import { isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */
/** @typedef {import('./main.js').Sample} Sample */
/** @typedef {{index: number, group: number, level: number}} Item */
/**
 * @typedef {object} Tile
 * @property {number} row @property {number} column
 * @property {Item} item
 * @property {HTMLElement} root
 * @property {Panel} panel
 * @property {string} key  of what it has asked for
 * @property {AbortController|null} stop
 * @property {Sample|null} sample
 * @property {import('./transport.js').Arrays|null} reply
 * @property {ImageBitmap|null} image
 * @property {boolean} own  the image is this tile's, to close
 * @property {boolean} loading
 * @property {string} error
 * @property {string[]} notes
 */

const GAP = 8;
const CHROME = 66; // of a tile, above and below its picture
const NAME = 28; // the line above a row of the table
const AT_ONCE = 4;
const IMAGE_SIDE = 800;
/** @type {string[]} */
const NO_NOTES = [];

class Grid {
  constructor() {
    /** @type {App|null} */
    this.app = null;
    /** @type {View} */
    this.view = /** @type {any} */ (null);
    /** @type {Set<Tile>} */
    this.tiles = new Set();
    this.asking = 0;
    this.made = '';
    /** @type {unknown} */
    this.found = null;
    this.current = '';
    /** @type {number[]} */
    this.levels = [];
    this.columns = 1;
    this.tile = 0;
    this.frame = 0;
    /** The one image of all tiles. @type {{key: string, promise: Promise<ImageBitmap|null>}|null} */
    this.photo = null;
  }

  /** @param {HTMLElement} root @param {App} app */
  mount(root, app) {
    this.app = app;
    this.view = app.view();
    this.made = '';
    this.kind = segment(
      'grid',
      t('grid.title'),
      [
        ['levels', t('grid.levels')],
        ['samples', t('grid.samples')],
      ],
      (grid) => app.store.set({ grid: grid === 'samples' ? 'samples' : 'levels' }),
    );
    this.text = h('span', { class: 'facts name' });
    this.size = h('input', {
      type: 'range',
      min: 120,
      max: 480,
      step: 10,
      'aria-label': t('grid.size'),
      title: t('grid.size'),
      oninput: () => app.store.set({ tile: Number(this.size?.value) }),
    });
    this.head = h('div', { class: 'grid-head', role: 'row' });
    this.box = h('div', { class: 'grid-box' }, this.head);
    root.append(
      h('div', { class: 'mode-bar' }, this.kind.element, this.text, h('span', { class: 'grow' }), this.size),
      this.box,
    );
    this.linked = new Linked(app.store, root);
    this.rows = new Rows(
      this.box,
      (row, element) => this.fill(row, element),
      (row) => this.empty(row),
      () => this.load(),
    );
    this.sizes = new ResizeObserver(() => this.arrange());
    this.sizes.observe(this.box);
  }

  /** @param {import('./state.js').State} state @param {View} view */
  update(state, view) {
    const { kind, linked, app, text } = this;
    if (!app || !kind || !linked || !text) return;
    this.view = view;
    kind.set(state.grid);
    if (view.sample) linked.show(view.sample.frame, state.view);
    setText(
      text,
      !view.sample
        ? t('stage.no_samples')
        : state.grid === 'levels'
          ? t('grid.count_maps', view.sample.maps.length, view.sample.id)
          : t(
              'grid.count_samples',
              app.sampleView.found.length.toLocaleString(),
              app.layerName(state.run, view.group, view.level),
            ),
    );
    text.title = text.textContent ?? '';
    this.arrange();
    for (const tile of this.tiles) this.renew(tile);
    this.load();
  }

  get run() {
    return /** @type {App} */ (this.app).about.runs[this.view.state.run];
  }

  get isTable() {
    return this.view.state.grid === 'levels' && this.levels.length > 1;
  }

  /** What lies in a place: null past the end, and of level -1 where the run has nothing. @param {number} row @param {number} column @returns {Item|null} */
  itemAt(row, column) {
    const {
      view: { index, group, level, state },
      run,
      columns,
    } = this;
    const at = row * columns + column;
    if (state.grid === 'samples') {
      const found = /** @type {App} */ (this.app).sampleView.found;
      return at < found.length ? { index: found[at], group: group ?? -1, level } : null;
    }
    const wanted = this.isTable ? this.levels[column] : run.groups[at]?.levels[0]?.level;
    const number = this.isTable ? row : at;
    if (!run.groups[number]) return null;
    return {
      index,
      group: number,
      level: run.groups[number].levels.some((each) => each.level === wanted) ? wanted : -1,
    };
  }

  /** Sizes, rows and columns; then the rows in sight. */
  arrange() {
    const { app, box, head, rows, view, run, size } = this;
    if (!app || !box || !head || !rows || !size || !view.sample) return;
    const { state } = view;
    const width = box.clientWidth - 2; // the outline of the current one
    if (width < 50) return;
    this.levels = levelsOf(run.groups);
    const table = this.isTable;
    const { found } = app.sampleView;
    const wanted =
      state.tile ||
      (table
        ? Math.min(320, Math.max(120, Math.floor((width + GAP) / this.levels.length) - GAP))
        : width < 500
          ? 160
          : 220);
    const fit = tilesAcross(width, wanted, GAP);
    this.columns = table ? this.levels.length : fit.columns;
    this.tile = table ? wanted : fit.tile;
    if (document.activeElement !== size) size.value = String(wanted);
    size.style.setProperty('--part', `${(100 * (Number(size.value) - 120)) / 360}%`);
    const [tall, wide] = view.sample.frame;
    const picture = Math.round((this.tile - 14) * Math.min(1.4, Math.max(0.4, tall / wide)));
    const height = picture + CHROME;
    box.style.setProperty('--tile-width', `${this.tile}px`);
    box.style.setProperty('--tile-height', `${height}px`);
    const items = state.grid === 'samples' ? found.length : run.groups.length;
    const count = table ? items : Math.ceil(items / this.columns);
    const made = [
      state.grid,
      state.run,
      this.columns,
      items,
      ...(state.grid === 'levels'
        ? run.groups.map((group) => `${group.layer}/${group.field}/${group.levels.length}`)
        : []),
    ].join();
    const anew = made !== this.made || (state.grid === 'samples' && this.found !== found);
    this.made = made;
    this.found = found;
    if (anew) {
      head.hidden = !table;
      head.replaceChildren(
        ...(table ? this.levels.map((level) => h('span', { role: 'columnheader', text: t('grid.level', level) })) : []),
      );
      for (const [name, value] of Object.entries({
        role: table ? 'table' : 'list',
        'aria-label': t('mode.grid'),
        'aria-rowcount': table ? count + 1 : null,
      })) {
        if (value === null) box.removeAttribute(name);
        else box.setAttribute(name, String(value));
      }
    }
    rows.set(count, height + GAP + (table ? NAME : 0), anew);
    const current = [state.grid, view.index, ...(state.grid === 'levels' ? [view.group, view.level] : [])].join();
    if (anew || current !== this.current) {
      const at = state.grid === 'samples' ? app.sampleView.active : (view.group ?? 0);
      if (at >= 0 || anew)
        rows.reveal(table ? at : Math.max(0, Math.floor(at / this.columns)), anew && state.grid === 'samples');
    }
    this.current = current;
    if (this.linked?.view) for (const panel of this.linked.panels) this.linked.place(panel);
  }

  /** @param {number} row @param {HTMLElement} element */
  fill(row, element) {
    const { app, run } = this;
    if (!app || !this.linked) return;
    if (this.isTable) {
      const { layer, field } = run.groups[row];
      const name = [layer, field].filter(Boolean).join(' · ');
      element.append(h('div', { class: 'grid-name', role: 'rowheader' }, h('span', { text: name, title: name })));
      element.setAttribute('role', 'row');
      element.setAttribute('aria-rowindex', String(row + 2));
    }
    const line = h('div', { class: 'grid-row', role: 'presentation' });
    element.append(line);
    for (let column = 0; column < this.columns; column++) {
      const item = this.itemAt(row, column);
      if (!item) break;
      const root = h('div', { class: 'map-tile', role: this.isTable ? 'cell' : 'listitem' });
      line.append(root);
      if (item.level < 0) {
        root.classList.add('is-hole');
        root.append(h('span', { text: t('grid.none', this.levels[column]) }));
        continue;
      }
      const panel = new Panel(root, { painter: app.painter, words: app.words });
      panel.show({ wheel: false, numbers: false });
      /** @type {Tile} */
      const tile = {
        row,
        column,
        item,
        root,
        panel,
        key: '',
        stop: null,
        sample: null,
        reply: null,
        image: null,
        own: false,
        loading: false,
        error: '',
        notes: NO_NOTES,
      };
      panel.onBox = (number, kind) => this.open(tile, number === null || !kind ? null : { number, kind });
      root.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' || event.defaultPrevented) return;
        event.preventDefault();
        this.open(tile, null);
      });
      this.linked.add(panel, (hover) => app.showHover(hover, tile.reply?.header ?? null));
      this.tiles.add(tile);
      this.renew(tile);
    }
  }

  /** @param {number} row */
  empty(row) {
    for (const tile of this.tiles) {
      if (tile.row !== row) continue;
      this.tiles.delete(tile);
      tile.stop?.abort();
      this.linked?.remove(tile.panel);
      this.free(tile);
    }
    this.share();
  }

  /** @param {Tile} tile */
  free(tile) {
    if (tile.own) tile.image?.close();
    tile.image = null;
  }

  /** The map on the stage. @param {Tile} tile @param {import('./state.js').State['box']} box */
  open({ item: { index, group, level } }, box) {
    const { app, run, view } = this;
    if (!app || !run.groups[group]) return;
    const { layer, field } = run.groups[group];
    const same = group === view.group && level === view.level;
    const ids = app.sampleView.list?.columns.ids ?? [];
    app.store.set({
      mode: 'stage',
      sample: ids[index],
      layer,
      field,
      level,
      box,
      explanation: null,
      ...(same ? {} : { slice: 0 }),
      ...(app.channelFits(group, level) ? {} : { reduce: 'auto' }),
    });
  }

  /** Have a tile show what belongs in its place now. @param {Tile} tile */
  renew(tile) {
    const item = this.itemAt(tile.row, tile.column);
    if (!item) return;
    tile.item = item;
    const { state, index, group, level } = this.view;
    const key = [state.run, item.index, item.group, item.level, state.reduce, state.slice, this.run.state].join();
    tile.root.classList.toggle(
      'is-current',
      item.index === index && (state.grid === 'samples' || (item.group === group && item.level === level)),
    );
    if (key !== tile.key) {
      tile.key = key;
      tile.stop?.abort();
      tile.stop = null;
      tile.loading = true;
    }
    this.dress(tile);
  }

  /** Ask for the tiles that wait, some at a time. */
  load() {
    if (this.rows?.flying) return;
    const waiting = [...this.tiles]
      .filter((tile) => tile.loading && !tile.stop)
      .sort((a, b) => a.row - b.row || a.column - b.column);
    for (const tile of waiting) {
      if (this.asking >= AT_ONCE) return;
      const stop = new AbortController();
      tile.stop = stop;
      this.asking++;
      this.fetch(tile, stop.signal)
        .catch((error) => {
          if (isAbort(error) || stop.signal.aborted) return;
          Object.assign(tile, { reply: null, error: String(error.message) });
          if (error.name === 'Gone') this.app?.showError(error);
        })
        .then(() => {
          this.asking--;
          if (!stop.signal.aborted) {
            tile.loading = false;
            this.dress(tile);
            this.share();
          }
          this.load();
        });
    }
  }

  /** @param {Tile} tile @param {AbortSignal} signal */
  async fetch(tile, signal) {
    const { app, view } = this;
    if (!app) return;
    const { index, group, level } = tile.item;
    const { state } = view;
    const sample =
      state.grid === 'levels' && view.sample ? view.sample : await app.sample(state.run, index, { signal });
    const map = sample.maps.find((each) => each.group === group && each.level === level);
    const slice = map && map.slices > 1 && state.slice ? Math.min(state.slice, map.slices - 1) : null;
    const [reply, image] = await Promise.all([
      map ? app.ask('map', app.mapParams(view, { sample: index, group, level, slice }), { signal }) : null,
      map && sample.image
        ? this.picture(sample, index, signal).catch((error) => {
            if (isAbort(error)) throw error;
            return null;
          })
        : null,
    ]);
    if (signal.aborted) {
      if (state.grid === 'samples') image?.close();
      return;
    }
    this.free(tile);
    const notes = reply ? [...sample.notes, ...(reply.header.notes ?? [])] : NO_NOTES;
    Object.assign(tile, {
      sample,
      reply,
      image,
      own: state.grid === 'samples',
      notes,
      error: map ? '' : t(sample.maps.length ? 'grid.no_map' : 'grid.no_maps'),
    });
  }

  /** The image of all tiles, or a smaller one of a tile's own, since many large ones would fill the memory. @param {Sample} sample @param {number} index @param {AbortSignal} signal @returns {Promise<ImageBitmap|null>} */
  async picture(sample, index, signal) {
    const app = /** @type {App} */ (this.app);
    const params = { run: this.view.state.run, sample: index };
    if (this.view.state.grid === 'levels') {
      const key = `${params.run} ${index}`;
      if (this.photo?.key !== key)
        this.photo = {
          key,
          promise: app.bitmap(params, { role: 'image' }).catch((error) => {
            this.photo = null;
            throw error;
          }),
        };
      return this.photo.promise;
    }
    const blob = await app.ask('image', params, { signal });
    const part = IMAGE_SIDE / Math.max(...sample.frame);
    const [tall, wide] = sample.frame;
    return createImageBitmap(
      blob,
      part < 1
        ? { resizeWidth: Math.round(wide * part), resizeHeight: Math.round(tall * part), resizeQuality: 'medium' }
        : {},
    );
  }

  /** @param {Tile} tile */
  dress(tile) {
    const { app, view } = this;
    if (!app) return;
    const { panel, reply, sample, item } = tile;
    const { state } = view;
    const ids = app.sampleView.list?.columns.ids ?? [];
    const title =
      state.grid === 'samples'
        ? (ids[item.index] ?? '')
        : this.isTable
          ? (sample?.maps.find((map) => map.group === item.group && map.level === item.level)?.shape.join('×') ?? '')
          : app.layerName(state.run, item.group, item.level);
    panel.canvas.setAttribute('aria-description', app.layerName(state.run, item.group, item.level));
    const base = {
      ...common(app, { ...view, sample }),
      selected: item.index === view.index ? state.box : null,
      title,
      loading: tile.loading,
      error: tile.error,
      image: tile.image,
      notes: tile.notes,
    };
    if (!reply) panel.show({ ...base, map: null, detections: null, truth: null });
    else {
      const look = app.lookFor(reply.header);
      panel.show({
        ...base,
        how: reply.header.words,
        map: featureMap(reply, item.level),
        palette: look.palette,
        zero: look.zero,
        alpha: look.alpha,
        fade: look.fade,
      });
      if (this.linked?.view) this.linked.place(panel);
    }
    this.share();
  }

  /** The ends of all scales: for each map its own, or one for all of a kind. */
  share() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const { app, view } = this;
      if (!app) return;
      const shown = [...this.tiles]
        .filter((tile) => tile.reply)
        .map((tile) => {
          const reply = /** @type {import('./transport.js').Arrays} */ (tile.reply);
          const { range, colormap, zero } = app.lookFor(reply.header);
          return {
            tile,
            header: reply.header,
            kind: [reply.header.reduce, range, colormap, zero].join(),
            bounds: boundsFor(reply, range),
          };
        });
      const scales = isShared(view.state) ? scalesOf(shown) : new Map();
      for (const { tile, header, kind, bounds } of shown) {
        const [low, high] = scales.get(kind) ?? bounds;
        tile.panel.show({ low, high, shared: scales.has(kind) });
        const {
          item: { index, group, level },
        } = tile;
        const { now } = app;
        if (
          index === view.index &&
          group === view.group &&
          level === view.level &&
          !tile.loading &&
          (now.header !== header || now.low !== low || now.high !== high)
        )
          app.shown({ header, low, high });
      }
    });
  }

  unmount() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.sizes?.disconnect();
    this.rows?.destroy();
    this.app?.transport.release('image');
    this.photo = null;
    this.app = null;
  }
}

export const grid = new Grid();
