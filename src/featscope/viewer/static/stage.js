// The map of one layer and level on its image, large.
import { boundsOf } from './draw/ranges.js';
import { h } from './dom.js';
import { Panel } from './panel.js';
import { isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */
/** @typedef {import('./transport.js').Arrays} Arrays */

/** @type {WeakMap<Arrays, import('./panel.js').FeatureMap & {bounds: Map<string, number[]>}>} */
const known = new WeakMap();

/** A reply as the map that a panel shows; the same reply gives the same object, which the panel knows again. @param {Arrays} reply @param {number|null} [level] */
export function featureMap(reply, level = null) {
  let map = known.get(reply);
  if (!map) {
    const { header, data } = reply;
    map = {
      shape: header.shape,
      values: /** @type {Float32Array} */ (data),
      placement: header.placement,
      inside: header.inside ?? null,
      level,
      place: header.place ?? '',
      bounds: new Map(),
    };
    known.set(reply, map);
  }
  return map;
}

/** The values of the first and the last colour, computed once. @param {Arrays} reply @param {string} range  no 'auto' */
export function boundsFor(reply, range) {
  const map = featureMap(reply);
  let bounds = map.bounds.get(range);
  if (!bounds) {
    bounds = boundsOf(map.values, map.shape, map.inside, range);
    map.bounds.set(range, bounds);
  }
  return bounds;
}

/** The parts of what a panel shows that are the same for all panels of a sample. @param {App} app @param {View} view */
export function common(app, { state, sample }) {
  return {
    classes: app.about.runs[state.run].classes,
    detections: sample?.detections ?? null,
    truth: sample?.truth ?? null,
    boxes: state.boxes,
    score: state.score,
    hidden: state.classes,
    selected: state.box,
    smooth: state.smooth,
    photo: state.photo,
    frame: sample?.frame ?? null,
  };
}

class Stage {
  constructor() {
    /** @type {Panel|null} */
    this.panel = null;
    this.turn = 0;
  }

  /** @param {HTMLElement} root @param {App} app */
  mount(root, app) {
    this.app = app;
    this.box = h('div', { class: 'stage' });
    this.back = h('button', {
      type: 'button',
      class: 'quiet back',
      hidden: true,
      text: t('back_to_map'),
      onclick: () => app.store.set({ explanation: null }),
    });
    root.append(this.back, this.box);
    this.panel = new Panel(this.box, { painter: app.painter, words: app.words });
    this.panel.onHover = (hover) => app.showHover(hover);
    this.panel.onView = (view) => app.store.set({ view });
    this.panel.onBox = (number, kind) =>
      app.store.set({ box: number === null || !kind ? null : { number, kind }, explanation: null });
  }

  /** @param {import('./state.js').State} state @param {View} view */
  async update(state, view) {
    const { app, panel } = this;
    if (!app || !panel || !this.back) return;
    const turn = ++this.turn;
    const { sample, index, group, level } = view;
    this.back.hidden = state.explanation === null;
    panel.setView(state.view);
    if (!sample) {
      panel.show({
        map: null,
        image: null,
        title: '',
        how: '',
        detections: null,
        truth: null,
        notes: [],
        error: t('stage.no_samples'),
        loading: false,
      });
      return;
    }
    panel.show({ loading: true });
    /** @param {Promise<any>} promise */
    const tried = (promise) =>
      promise.then(
        (value) => ({ value, error: null }),
        (error) => ({ value: null, error }),
      );
    const [map, image] = await Promise.all([
      tried(
        state.explanation !== null
          ? app.ask('explanation', { run: state.run, sample: index, key: state.explanation }, { role: 'map' })
          : group === null
            ? Promise.resolve(null)
            : app.ask('map', app.mapParams(view), { role: 'map' }),
      ),
      tried(sample.image ? app.bitmap({ run: state.run, sample: index }, { role: 'image' }) : Promise.resolve(null)),
    ]);
    if (turn !== this.turn || isAbort(map.error) || isAbort(image.error)) return;
    app.showError(map.error ?? image.error);
    /** @type {Arrays|null} */
    const reply = map.value;
    const notes = [...sample.notes, ...(reply?.header.notes ?? [])];
    if (!sample.image && reply) notes.push(t('stage.no_image'));
    const name = app.layerName(state.run, group, level);
    /** @type {Partial<import('./panel.js').Shown>} */
    const parts = {
      ...common(app, view),
      marks: app.missView.marks,
      numbers: state.view !== app.missView.zoomed,
      image: image.value,
      loading: false,
      title: state.explanation === null ? name : (reply?.header.title ?? ''),
      how: state.explanation !== null ? '' : reply ? reply.header.words : map.error ? '' : t('stage.no_maps'),
      error: reply ? '' : map.error ? map.error.message : t('stage.no_maps'),
    };
    if (JSON.stringify(notes) !== JSON.stringify(panel.shown.notes)) parts.notes = notes;
    if (reply) {
      const look = app.lookFor(reply.header);
      const [low, high] = boundsFor(reply, look.range);
      panel.show({
        ...parts,
        map: featureMap(reply, level),
        low,
        high,
        palette: look.palette,
        zero: look.zero,
        alpha: look.alpha,
        fade: look.fade,
      });
      app.shown({ header: reply.header, low, high });
    } else {
      panel.show({ ...parts, map: null, error: image.value ? '' : parts.error });
      app.shown({ header: null, low: null, high: null });
    }
  }

  unmount() {
    this.turn++;
    this.panel?.destroy();
    this.panel = null;
    this.app?.transport.release('map');
    this.app?.transport.release('image');
  }
}

export const stage = new Stage();
