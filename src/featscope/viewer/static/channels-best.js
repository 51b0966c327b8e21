// The images of a run that excite a channel most, in a row.
import { boundsFor, featureMap } from './stage.js';
import { h, icon, setText } from './dom.js';
import { format } from './draw/ranges.js';
import { keyOf, isAbort } from './transport.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').View} View */

const TALL = 88; // pixels of a thumbnail

export class BestRow {
  /** @param {HTMLElement} root @param {App} app @param {() => void} onClose */
  constructor(root, app, onClose) {
    this.root = root;
    this.app = app;
    this.onClose = onClose;
    this.turn = 0;
    this.key = '';
    this.channel = 0;
    /** @type {AbortController|null} */
    this.work = null;
    this.title = h('h3', {});
    this.looked = h('span', { class: 'facts' });
    this.more = h('button', { type: 'button', class: 'quiet', text: t('channels.more'), onclick: () => this.ask() });
    this.words = h('p', { class: 'hint', role: 'status' });
    this.list = h('ul', { class: 'best-list' });
    this.seen = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          if (!isIntersecting) continue;
          this.seen.unobserve(target);
          this.paint(/** @type {HTMLCanvasElement} */ (target)).catch((error) => {
            if (!isAbort(error)) target.classList.add('wrong');
          });
        }
      },
      { root: this.list, rootMargin: '0px 200px' },
    );
    root.replaceChildren(
      h(
        'div',
        { class: 'best-head' },
        this.title,
        this.looked,
        this.more,
        h('span', { class: 'grow' }),
        h(
          'button',
          { type: 'button', class: 'tool', 'aria-label': t('close'), title: t('close'), onclick: () => this.close() },
          icon('close'),
        ),
      ),
      this.words,
      this.list,
    );
    root.hidden = false;
    root.onkeydown = (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      this.close();
    };
  }

  /** @param {number} channel @param {View} view @param {any} header  of a map of the layer: its colours */
  show(channel, view, header) {
    this.channel = channel;
    this.header = header;
    setText(this.title, t('channels.best_title', channel));
    this.update(view);
  }

  /** @param {View} view */
  update(view) {
    const { state, group, level, slices, index } = view;
    this.view = view;
    const key = JSON.stringify([state.run, group, level, slices && state.slice, this.channel]);
    if (key !== this.key) {
      this.key = key;
      this.ask();
    }
    for (const button of this.list.querySelectorAll('button'))
      button.setAttribute('aria-current', String(Number(button.dataset.index) === index));
  }

  async ask() {
    const { app, view } = this,
      turn = ++this.turn;
    if (!view || view.group === null) return;
    const params = { run: view.state.run, group: view.group, level: view.level, channel: this.channel, count: 24 };
    app.transport.texts.drop(keyOf('best', params)); // the server looks at more images with each question
    this.more.disabled = true;
    setText(this.looked, t('loading'));
    try {
      const found = await app.ask('best', params, { role: 'best' }),
        {
          columns: { ids },
        } = await app.samples(view.state.run);
      if (turn === this.turn) this.fill(found, ids);
    } catch (error) {
      if (turn !== this.turn || isAbort(error)) return;
      setText(this.looked, '');
      setText(this.words, /** @type {Error} */ (error).message);
      this.more.hidden = true;
      this.list.replaceChildren();
    }
  }

  /** @param {{samples: number[], values: (number|null)[], looked: number, total: number}} found @param {string[]} ids */
  fill({ samples, values, looked, total }, ids) {
    setText(this.looked, t('channels.looked', looked, total));
    this.more.hidden = looked >= total;
    this.more.disabled = false;
    setText(this.words, samples.length || looked < total ? '' : t('channels.none'));
    this.work?.abort();
    this.work = new AbortController();
    this.seen.disconnect();
    this.strongest = values[0];
    this.list.replaceChildren(
      ...samples.map((index, place) => {
        const canvas = h('canvas', { width: TALL, height: TALL, 'aria-hidden': 'true', 'data-index': index });
        this.seen.observe(canvas);
        return h(
          'li',
          {},
          h(
            'button',
            {
              type: 'button',
              'data-index': index,
              'aria-current': String(index === this.view?.index),
              title: ids[index],
              onclick: () => this.app.store.set({ sample: ids[index], box: null, explanation: null }),
            },
            canvas,
            h('span', { class: 'name', text: ids[index] }),
            h('span', {
              class: 'facts',
              text: values[place] === null ? '' : format(/** @type {number} */ (values[place]), 3),
            }),
          ),
        );
      }),
    );
  }

  /** The image with the channel over it; one scale for all, so that their strengths compare. @param {HTMLCanvasElement} canvas */
  async paint(canvas) {
    const { app, view } = this,
      signal = this.work?.signal,
      sample = Number(canvas.dataset.index);
    if (!view) return;
    const run = view.state.run;
    const [reply, image] = await Promise.all([
      app.ask('map', app.mapParams(view, { sample, reduce: `channel:${this.channel}` }), { signal, calm: true }),
      app.transport.bitmap({ run, sample }, { signal, calm: true }, 'thumb').catch((error) => {
        if (isAbort(error)) throw error;
        return null;
      }),
    ]);
    const map = featureMap(reply, view.level),
      [tall, wide] = map.placement.frame,
      ratio = devicePixelRatio || 1;
    const look = app.lookFor(reply.header),
      scale = TALL / tall;
    const width = Math.min(2 * TALL, Math.max(TALL / 2, wide * scale)),
      fit = Math.min(scale, width / wide);
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(TALL * ratio) });
    Object.assign(canvas.style, { width: `${width}px` });
    const [least, most] = boundsFor(reply, 'map'),
      top = this.strongest ?? most;
    const low = look.zero ? -Math.abs(top) : Math.min(0, least),
      high = look.zero ? Math.abs(top) : Math.max(top, low + 1e-12);
    app.painter.paint(/** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')), {
      width: canvas.width,
      height: canvas.height,
      view: { x: wide / 2, y: tall / 2, scale: fit * ratio },
      placement: map.placement,
      shape: map.shape,
      values: map.values,
      palette: look.palette,
      low,
      high,
      zero: look.zero,
      alpha: look.alpha,
      fade: look.fade,
      smooth: look.smooth,
      image,
      photo: look.photo,
    });
  }

  close() {
    this.turn++;
    this.work?.abort();
    this.seen.disconnect();
    this.root.replaceChildren();
    this.root.hidden = true;
    this.app.transport.release('best');
    this.onClose();
  }
}
