// Boxes over a map: outlines, labels that never cover each other, and which box lies under the pointer.

import { CLASS_COLOURS } from './palette.js';

/** @typedef {{polygon: number[], label: number, score: number|null, cells?: {level: number, row: number, column: number, shape?: number[]|null}[]}} Box
 *  cells: its sources. Levels are numbered by the head; a cell's `shape`, [rows, columns] of its level, says which maps have
 *  the same cells, whatever their own numbers are. */
/** @typedef {{box: Box, number: number, kind: 'detection'|'truth', text: string, quiet?: boolean}} Item
 *  number: in the list of its kind; quiet: its label is only drawn where the box is chosen or pointed at */
/** @typedef {{box: Box, kind: 'candidate'|'suppressor', text: string, quiet?: boolean}} Told  a box that tells about the chosen one */
/** @typedef {{left: number, top: number, right: number, bottom: number}} Area */

/** @type {Record<string, {colour?: string, dash: number[]}>} they differ not only by colour */
const KINDS = {
  detection: { dash: [] },
  truth: { colour: '#fff', dash: [6, 3] },
  candidate: { colour: '#5ce1e6', dash: [2, 3] },
  suppressor: { colour: '#ff8a5c', dash: [] },
};

/** @param {Item|Told} item */
export const colourOf = ({ kind, box }) =>
  KINDS[kind].colour ?? CLASS_COLOURS[Math.abs(box.label) % CLASS_COLOURS.length];

/** @param {number[]} polygon */
export function areaOf(polygon) {
  let sum = 0;
  for (let i = 0, n = polygon.length; i < n; i += 2)
    sum += polygon[i] * polygon[(i + 3) % n] - polygon[(i + 2) % n] * polygon[i + 1];
  return Math.abs(sum) / 2;
}

/**
 * The box at a point of the frame: the smallest that contains it, or else the nearest whose outline is within reach.
 * @param {Item[]} items @param {number} x @param {number} y @param {number} reach in pixels of the frame
 */
export function boxAt(items, x, y, reach) {
  /** @type {Item|null} */
  let best = null;
  let smallest = Infinity,
    nearest = reach;
  for (const item of items) {
    const p = item.box.polygon,
      n = p.length;
    let inside = false,
      distance = Infinity;
    for (let i = 0; i < n; i += 2) {
      const ax = p[i],
        ay = p[i + 1],
        bx = p[(i + 2) % n],
        by = p[(i + 3) % n];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
      const dx = bx - ax,
        dy = by - ay,
        length = dx * dx + dy * dy;
      const part = length ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
      distance = Math.min(distance, Math.hypot(x - ax - part * dx, y - ay - part * dy));
    }
    const area = areaOf(p) * (item.kind === 'truth' ? 2 : 1); // a detection and its object are alike; the detection has sources
    if (inside && area < smallest) [best, smallest] = [item, area];
    else if (smallest === Infinity && distance <= nearest) [best, nearest] = [item, distance];
  }
  return best;
}

/**
 * Places for labels, the first ones first: above a box's highest corner, else below its lowest one; null where there is no
 * room, or where the box is smaller than its label, which would hide more than it tells.
 * @param {{points: number[], width: number, forced: boolean}[]} labels points of the box and the text's width, on the screen
 * @param {number} height of a label @param {number} wide of the panel @param {number} tall @returns {(Area|null)[]}
 */
export function placeLabels(labels, height, wide, tall) {
  /** @type {Area[]} */
  const taken = [];
  return labels.map(({ points, width, forced }) => {
    let top = 0,
      bottom = 0,
      left = Infinity,
      right = -Infinity;
    for (let i = 0; i < points.length; i += 2) {
      if (points[i + 1] < points[top + 1]) top = i;
      if (points[i + 1] > points[bottom + 1]) bottom = i;
      left = Math.min(left, points[i]);
      right = Math.max(right, points[i]);
    }
    if (right < 0 || left > wide || points[bottom + 1] < 0 || points[top + 1] > tall) return null;
    if (!forced && areaOf(points) < width * height) return null;
    for (const [x, y] of [
      [points[top], points[top + 1] - height - 2],
      [points[bottom], points[bottom + 1] + 2],
    ]) {
      const at = Math.max(0, Math.min(x - width / 2, wide - width)),
        from = forced ? Math.max(0, Math.min(y, tall - height)) : y;
      const area = { left: at, top: from, right: at + width, bottom: from + height };
      const free =
        from >= 0 &&
        area.bottom <= tall &&
        !taken.some((t) => at < t.right && t.left < area.right && from < t.bottom && t.top < area.bottom);
      if (free) {
        taken.push(area);
        return area;
      }
    }
    return null;
  });
}

const FONT = '500 11px system-ui, sans-serif',
  HEIGHT = 16;
/** @type {Map<string, number>} */
const widths = new Map();

/**
 * @param {CanvasRenderingContext2D} context @param {(Item|Told)[]} items the most important first; all of them are on the frame
 * @param {{marked: Item|null, hovered: Item|null, width: number, height: number, toScreen: (x: number, y: number) => {x: number, y: number}}} options
 */
export function drawBoxes(context, items, { marked, hovered, width, height, toScreen }) {
  const shapes = items.map(({ box }) => {
    const points = [];
    for (let i = 0; i < box.polygon.length; i += 2) {
      const { x, y } = toScreen(box.polygon[i], box.polygon[i + 1]);
      points.push(x, y);
    }
    return points;
  });
  /** @param {Item|Told} item */
  const isStrong = (item) =>
    item === marked || item === hovered || item.kind === 'candidate' || item.kind === 'suppressor';
  context.lineJoin = 'round';
  const thin = Math.min(width, height) < 220 ? 0.5 : 1; // in a tile, lines would bury the map
  for (let i = items.length - 1; i >= 0; i--) {
    const item = items[i],
      strong = isStrong(item),
      points = shapes[i];
    context.globalAlpha = marked && !strong ? 0.5 : 1;
    context.beginPath();
    for (let c = 0; c < points.length; c += 2) context.lineTo(points[c], points[c + 1]);
    context.closePath();
    context.lineWidth = (strong ? 5 : 2.75) * thin;
    context.strokeStyle = 'rgba(0,0,0,.6)';
    context.setLineDash([]);
    context.stroke();
    context.lineWidth = (strong ? 3 : 1.5) * thin;
    context.strokeStyle = colourOf(item);
    context.setLineDash(KINDS[item.kind].dash);
    context.stroke();
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
  context.font = FONT;
  context.textBaseline = 'middle';
  /** @param {number} i */
  const strong = (i) => isStrong(items[i]);
  // Beside a chosen box, other labels would only be in its way.
  const order = items.map((_, i) => i).filter((i) => items[i].text && (strong(i) || (!marked && !items[i].quiet)));
  /** @param {number} i */
  const rank = (i) => (items[i] === marked ? 2 : Number(strong(i)));
  order.sort((a, b) => rank(b) - rank(a));
  const labels = order.map((i) => {
    const { text } = items[i];
    let size = widths.get(text);
    if (size === undefined) {
      if (widths.size > 5000) widths.clear();
      size = Math.ceil(context.measureText(text).width) + 8;
      widths.set(text, size);
    }
    return { points: shapes[i], width: size, forced: strong(i) };
  });
  placeLabels(labels, HEIGHT, width, height).forEach((area, n) => {
    const item = items[order[n]];
    if (!area) return;
    context.fillStyle = colourOf(item);
    context.beginPath();
    context.roundRect(area.left, area.top, area.right - area.left, HEIGHT, 3);
    context.fill();
    context.fillStyle = '#000';
    context.fillText(item.text, area.left + 4, area.top + HEIGHT / 2 + 0.5);
  });
}
