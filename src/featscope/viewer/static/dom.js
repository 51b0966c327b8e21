// Small helpers to build elements. Texts are set as text, never as HTML.

/** @typedef {Node|string|number|null|undefined|false} Child */

/**
 * An element: attributes by name, 'on...' functions as listeners, `class`, `text`.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [props] @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'text') element.textContent = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') /** @type {any} */ (element).value = value;
    else if (name === 'checked') /** @type {any} */ (element).checked = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children) if (child || child === 0) element.append(child instanceof Node ? child : String(child));
  return element;
}

const ICONS = {
  link: 'M6.5 9.5l3-3M7 4.5l1.2-1.2a3 3 0 014.3 4.3L11 8.8M9 11.5l-1.2 1.2a3 3 0 01-4.3-4.3L5 7.2',
  command: 'M3 4l3.5 4L3 12M8.5 12H13',
  save: 'M8 2.5v7.5M4.8 7L8 10.2 11.2 7M3 13.2h10',
  help: 'M5.8 6a2.2 2.2 0 114 1.2C9.2 8 8 8.3 8 9.6M8 12.2v.1',
  samples: 'M2.5 3.500h4v4h-4zM9.5 3.500h4M9.5 6.500h2.500M2.5 9.500h4v4h-4zM9.5 9.500h4M9.5 12.500h2.5',
  stage: 'M2.5 3h11v10h-11zM2.5 10.500l3.5-3.5 3 3 1.5-1.5 3 3',
  layers: 'M8 2.500l6 3-6 3-6-3zM2 8.500l6 3 6-3M2 11l6 3 6-3',
  settings:
    'M2.5 4.500h6M11.5 4.500h2M2.5 11.500h2M7.5 11.500h6M8.5 4.500a1.5 1.5 0 103 0 1.5 1.5 0 10-3 0M4.5 11.500a1.5 1.5 0 103 0 1.5 1.5 0 10-3 0',
  similar: 'M2 6c2-3 4-3 6 0s4 3 6 0M2 10.500c2-3 4-3 6 0s4 3 6 0',
  search: 'M7 2.500a4.5 4.5 0 100 9 4.5 4.5 0 100-9M10.3 10.300L13.5 13.5',
  filter: 'M2.5 4h11M4.5 8h7M6.5 12h3',
  up: 'M4 10l4-4 4 4',
  down: 'M4 6l4 4 4-4',
  right: 'M6 4l4 4-4 4',
  left: 'M10 4L6 8l4 4',
  close: 'M4 4l8 8M12 4l-8 8',
  fit: 'M2.5 6V2.500H6M10 2.500h3.500V6M13.5 10v3.500H10M6 13.500H2.500V10',
};

/** A line drawing of 16 x 16. @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  for (const [key, value] of Object.entries({ viewBox: '0 0 16 16', class: 'icon', 'aria-hidden': 'true' }))
    svg.setAttribute(key, value);
  const path = document.createElementNS(svg.namespaceURI, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A name that is too long loses its middle, because names of layers and files differ at their ends. @param {HTMLElement} element @param {string} text */
export function setName(element, text) {
  if (element.title === text && element.firstChild) return;
  const at = text.length > 18 ? text.length - 9 : text.length;
  element.title = text;
  element.replaceChildren(h('span', { text: text.slice(0, at) }), h('span', { text: text.slice(at) }));
}

/** A text that is read out, such as a new status, but only once it rests. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What the page remembers between visits; null where the browser keeps nothing. @param {string} key */
export function recall(key) {
  try {
    return localStorage.getItem(`featscope.${key}`);
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
export function remember(key, value) {
  try {
    localStorage.setItem(`featscope.${key}`, value);
  } catch {
    /* a private window: it lasts as long as the page */
  }
}

/** Scroll a box no further than needed to have an element in sight. `scrollIntoView` would also have Tab go on from there. @param {Element|null|undefined} element @param {Element} box */
export function reveal(element, box) {
  if (!element) return;
  const inner = element.getBoundingClientRect(),
    outer = box.getBoundingClientRect();
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top;
  else if (inner.bottom > outer.bottom) box.scrollTop += Math.min(inner.bottom - outer.bottom, inner.top - outer.top);
}
