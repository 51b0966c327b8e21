// The layers of a run as a tree: layer, field, level; below it the layers that hold no map, with the reason.
import { h, icon, reveal, setName } from './dom.js';
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */
/** @typedef {import('./main.js').Run} Run */
/** @typedef {import('./main.js').Level} Level */
/** @typedef {{id: string, depth: number, text: string, parent: Item|null, group: number, level: Level|null, children: Item[], element: HTMLElement|null}} Item */

export class LayerView {
  /** @param {HTMLElement} root @param {App} app */
  constructor(root, app) {
    this.app = app;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Item[]} */
    this.seen = [];
    /** @type {Set<string>} */
    this.open = new Set();
    /** @type {Item|null} */
    this.active = null;
    this.chosen = '';
    this.search = h('input', {
      type: 'search',
      class: 'search',
      placeholder: t('layers.search'),
      'aria-label': t('layers.search'),
      spellcheck: 'false',
      oninput: () => this.draw(),
    });
    this.searchBar = h('div', { class: 'bar', hidden: true }, this.search);
    this.tree = h('div', {
      class: 'tree',
      role: 'tree',
      tabindex: '0',
      'aria-label': t('layers.title'),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
    });
    this.left = h('details', { class: 'left-out', hidden: true });
    this.empty = h('p', { class: 'empty', text: t('layers.none'), hidden: true });
    this.box = h('div', { class: 'tree-box' }, this.tree, this.empty, this.left);
    root.append(this.searchBar, this.box);
  }

  /** @param {Run} run */
  show(run) {
    /** @type {Map<string, Item>} */
    const layers = new Map();
    this.items = [];
    run.groups.forEach((group, number) => {
      let layer = layers.get(group.layer);
      if (!layer) {
        layer = {
          id: group.layer,
          depth: 0,
          text: group.layer,
          parent: null,
          group: -1,
          level: null,
          children: [],
          element: null,
        };
        layers.set(group.layer, layer);
        this.items.push(layer);
      }
      const alone = run.groups.filter((other) => other.layer === group.layer).length === 1;
      /** @type {Item} */
      let field = layer;
      if (!alone) {
        field = {
          id: `${group.layer}\n${group.field}`,
          depth: 1,
          text: group.field || t('layers.output'),
          parent: layer,
          group: -1,
          level: null,
          children: [],
          element: null,
        };
        layer.children.push(field);
      } else if (group.field) layer.text = `${group.layer} · ${group.field}`;
      for (const level of group.levels) {
        if (group.levels.length === 1) Object.assign(field, { group: number, level });
        else
          field.children.push({
            id: `${group.layer}\n${group.field}\n${level.level}`,
            depth: field.depth + 1,
            text: t('layers.level', level.level),
            parent: field,
            group: number,
            level,
            children: [],
            element: null,
          });
      }
    });
    if (this.items.length <= 4) for (const item of this.items) this.open.add(item.id);
    this.searchBar.hidden = this.items.length <= 12;
    this.empty.hidden = this.items.length > 0;
    this.tree.hidden = !this.items.length;
    this.left.hidden = !run.left.length;
    this.left.replaceChildren(
      h('summary', { text: t('layers.left', run.left.length) }),
      h(
        'ul',
        {},
        ...run.left.map(({ layer, why }) =>
          h('li', {}, h('span', { class: 'name', text: layer, title: layer }), h('span', { class: 'why', text: why })),
        ),
      ),
    );
    this.chosen = '';
    this.draw();
  }

  /** Mark the map that is shown. @param {number} group @param {number} level */
  choose(group, level) {
    const key = `${group} ${level}`;
    if (key === this.chosen) return;
    this.chosen = key;
    const item = this.find((each) => each.level !== null && each.group === group && each.level.level === level);
    for (let parent = item?.parent; parent; parent = parent.parent) this.open.add(parent.id);
    this.active = item ?? this.active;
    this.draw();
    reveal(item?.element?.firstElementChild, this.box);
  }

  /** @param {(item: Item) => boolean} fits @param {Item[]} [items] @returns {Item|undefined} */
  find(fits, items = this.items) {
    for (const item of items) {
      if (fits(item)) return item;
      const below = this.find(fits, item.children);
      if (below) return below;
    }
    return undefined;
  }

  draw() {
    this.seen = [];
    const parts = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    /** @param {Item[]} items @param {boolean} all @returns {HTMLElement[]} */
    const build = (items, all) => {
      /** @type {HTMLElement[]} */
      const elements = [];
      const shown = all ? items : items.filter((item) => parts.every((part) => item.text.toLowerCase().includes(part)));
      for (const [at, item] of shown.entries())
        elements.push(this.row(item, at + 1, shown.length, (children) => build(children, true)));
      return elements;
    };
    this.tree.replaceChildren(...build(this.items, false));
    if (!this.active || !this.seen.includes(this.active)) this.active = this.seen[0] ?? null;
    this.mark();
  }

  /** @param {Item} item @param {number} at @param {number} count @param {(items: Item[]) => HTMLElement[]} build */
  row(item, at, count, build) {
    this.seen.push(item);
    const open = item.children.length > 0 && this.open.has(item.id);
    const chosen = item.level !== null && `${item.group} ${item.level.level}` === this.chosen;
    const holds =
      item.children.length > 0 &&
      !open &&
      this.find((each) => each.level !== null && `${each.group} ${each.level.level}` === this.chosen, item.children) !==
        undefined;
    const name = h('span', { class: 'name long' });
    setName(name, item.text);
    const line = h(
      'div',
      { class: 'tree-line', onclick: () => this.press(item) },
      h(
        'span',
        { class: 'tree-name' },
        item.children.length ? icon(open ? 'down' : 'right') : h('span', { class: 'icon' }),
        name,
      ),
      item.level && h('span', { class: 'level-facts' }, ...facts(item.level)),
    );
    line.style.setProperty('--depth', String(item.depth));
    const element = h(
      'div',
      {
        role: 'treeitem',
        id: `layer-${this.seen.length}`,
        class: `${chosen ? 'chosen' : ''}${holds ? ' holds' : ''}`,
        'aria-level': item.depth + 1,
        'aria-posinset': at,
        'aria-setsize': count,
        'aria-selected': String(chosen),
        'aria-expanded': item.children.length ? String(open) : null,
      },
      line,
    );
    item.element = element;
    if (open) element.append(h('div', { role: 'group' }, ...build(item.children)));
    return element;
  }

  mark() {
    for (const item of this.seen) item.element?.classList.toggle('active', item === this.active);
    if (this.active?.element) this.tree.setAttribute('aria-activedescendant', this.active.element.id);
    else this.tree.removeAttribute('aria-activedescendant');
  }

  /** @param {Item} item */
  press(item) {
    this.active = item;
    if (item.level) {
      this.take(item);
      this.app.pane('map');
    } else this.turn(item, !this.open.has(item.id));
  }

  /** @param {Item} item */
  take(item) {
    if (item.level) this.app.chooseMap(item.group, item.level.level);
    this.mark();
  }

  /** @param {Item} item @param {boolean} open */
  turn(item, open) {
    if (open) this.open.add(item.id);
    else this.open.delete(item.id);
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const item = this.active;
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.seen.indexOf(item);
    /** @param {Item|undefined|null} next */
    const move = (next) => {
      if (next) this.active = next;
      this.mark();
      reveal(this.active?.element?.firstElementChild, this.box);
    };
    const open = this.open.has(item.id);
    switch (event.key) {
      case 'ArrowDown':
        move(this.seen[at + 1]);
        break;
      case 'ArrowUp':
        move(this.seen[at - 1]);
        break;
      case 'Home':
        move(this.seen[0]);
        break;
      case 'End':
        move(this.seen[this.seen.length - 1]);
        break;
      case 'ArrowRight':
        if (item.children.length && !open) this.turn(item, true);
        else move(item.children[0]);
        break;
      case 'ArrowLeft':
        if (item.children.length && open) this.turn(item, false);
        else move(item.parent);
        break;
      case 'Enter':
      case ' ':
        this.press(item);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

/** The shape and the stride of a level, and a mark where its place on the image is not proved. @param {Level} level */
function facts(level) {
  const sure = level.place !== 'assumed' && level.place !== '';
  return [
    sure
      ? null
      : h('span', {
          class: 'mark',
          role: 'img',
          'aria-label': t('place.assumed'),
          title: t('place.assumed'),
          text: '?',
        }),
    h('span', {
      class: 'shape',
      text: level.shape.replaceAll(' x ', '×').replace(/,.*/, ' …'),
      title: t('layers.shape', level.shape.replaceAll(' x ', ' × ')),
    }),
    level.stride
      ? h('span', {
          class: 'stride',
          text: `/${level.stride.replace(' x ', '×')}`,
          title: t('layers.stride', level.stride.replace(' x ', ' × ')),
        })
      : h('span', { class: 'stride' }),
  ].filter((part) => part !== null);
}
