// Panels that move together: one pan and zoom, one cross-hair. And a list of which only the rows in sight exist.
import { h } from './dom.js';
import { sameView } from './match.js';

/** @typedef {import('./panel.js').Panel} Panel */
/** @typedef {import('./panel.js').Hover} Hover */

export class Linked {
  /** @param {import('./state.js').Store} store @param {HTMLElement} root  the view of the state is that of a panel as large as this */
  constructor(store, root) {
    this.store = store;
    this.root = root;
    /** @type {Set<Panel>} */
    this.panels = new Set();
    this.frame = [1, 1];
    /** @type {import('./state.js').State['view']} */
    this.view = null;
  }

  /** @param {Panel} panel @param {(hover: Hover|null) => void} onHover */
  add(panel, onHover) {
    this.panels.add(panel);
    panel.onView = (view) => this.moved(panel, view);
    panel.onHover = (hover) => {
      for (const other of this.panels) {
        if (other !== panel)
          other.setCursor(
            hover && { x: (hover.x * other.frame[1]) / panel.frame[1], y: (hover.y * other.frame[0]) / panel.frame[0] },
          );
      }
      onHover(hover);
    };
  }

  /** @param {Panel} panel */
  remove(panel) {
    this.panels.delete(panel);
    panel.destroy();
  }

  get size() {
    return [this.root.clientWidth || 1, this.root.clientHeight || 1];
  }

  /** Show this part in all panels. @param {number[]} frame @param {import('./state.js').State['view']} view */
  show(frame, view) {
    this.frame = frame;
    this.view = view;
    for (const panel of this.panels) this.place(panel);
  }

  /** Show the part in a panel that is new, or whose frame or size has changed. @param {Panel} panel */
  place(panel) {
    const { clientWidth, clientHeight } = panel.stage;
    if (!this.view) panel.setView(null);
    else if (clientWidth && clientHeight)
      panel.setView(sameView(this.view, this.frame, this.size, panel.frame, [clientWidth, clientHeight]));
  }

  /** @param {Panel} from @param {import('./state.js').State['view']} view */
  moved(from, view) {
    this.view = view && sameView(view, from.frame, [from.width, from.height], this.frame, this.size);
    for (const panel of this.panels) if (panel !== from) this.place(panel);
    this.store.set({ view: this.view });
  }
}

const SPARE = 1;
const MOST = 8e6; // browsers end a page's height somewhere above

export class Rows {
  /**
   * @param {HTMLElement} box  that scrolls
   * @param {(row: number, element: HTMLElement) => void} take @param {(row: number) => void} drop @param {() => void} [rest]  called when scrolling has come to rest
   */
  constructor(box, take, drop, rest = () => {}) {
    this.box = box;
    this.take = take;
    this.drop = drop;
    this.rest = rest;
    this.space = h('div', { class: 'rows' });
    box.append(this.space);
    /** @type {Map<number, HTMLElement>} */
    this.elements = new Map();
    this.count = 0;
    this.height = 1;
    this.last = 0;
    /** Rows fly past, and are gone before they could show anything. */
    this.flying = false;
    this.frame = 0;
    /** @type {number|undefined} */
    this.timer = undefined;
    box.addEventListener('scroll', () => this.ask());
    this.sizes = new ResizeObserver(() => this.ask());
    this.sizes.observe(box);
  }

  /** @param {number} count @param {number} height @param {boolean} anew  the rows are others than before */
  set(count, height, anew) {
    const first = this.height > 1 ? this.top / this.height : 0;
    if (anew) this.clear();
    this.count = count;
    this.height = height;
    this.space.style.height = `${Math.min(MOST, count * height)}px`;
    if (!anew) this.top = first * height;
    this.render();
  }

  /** Pixels of rows per pixel of scrolling, for a list taller than a page can be. */
  get pace() {
    const { clientHeight } = this.box;
    const all = this.count * this.height;
    return all > MOST ? (all - clientHeight) / (MOST - clientHeight) : 1;
  }

  get top() {
    return this.box.scrollTop * this.pace;
  }

  set top(value) {
    this.box.scrollTop = value / this.pace;
  }

  ask() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  render() {
    const { clientHeight, scrollTop } = this.box;
    const { top } = this;
    if (!clientHeight) return;
    const first = Math.max(0, Math.floor(top / this.height) - SPARE),
      last = Math.min(this.count, Math.ceil((top + clientHeight) / this.height) + SPARE);
    for (const row of [...this.elements.keys()]) if (row < first || row >= last) this.remove(row);
    for (let row = last - 1; row >= first; row--) {
      let element = this.elements.get(row);
      if (!element) {
        element = h('div', { class: 'rows-one' });
        this.space.insertBefore(element, this.elements.get(row + 1) ?? null);
        this.elements.set(row, element);
        this.take(row, element);
      }
      element.style.transform = `translateY(${row * this.height - top + scrollTop}px)`;
    }
    this.flying ||= Math.abs(top - this.last) > clientHeight / 2;
    this.last = top;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.flying = false;
      this.rest();
    }, 60);
  }

  /** Scroll no further than needed to have a row in sight; `first`: put it at the top. @param {number} row @param {boolean} [first] */
  reveal(row, first = false) {
    const at = row * this.height,
      most = at + this.height - this.box.clientHeight + this.space.offsetTop;
    if (first || this.top > at) this.top = at;
    else if (this.top < most) this.top = most;
    this.render();
  }

  /** @param {number} row */
  remove(row) {
    this.drop(row);
    this.elements.get(row)?.remove();
    this.elements.delete(row);
  }

  clear() {
    for (const row of [...this.elements.keys()]) this.remove(row);
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.sizes.disconnect();
    this.clear();
  }
}
