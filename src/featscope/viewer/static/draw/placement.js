// Where the cells of a map lie on the frame, and where the frame lies on the screen. Pure functions.

/** @typedef {{frame: number[], cells: number[], crop: number[]|null, flip: string}} Placement
 *  frame: [height, width]; cells: [left, top, right, bottom]; crop: [top, left, height, width] in pixels of the frame. */
/** @typedef {{x: number, y: number, scale: number}} View
 *  The pixel of the frame in the middle of the panel, and screen pixels per pixel of the frame. */
/** @typedef {{x: number, y: number, width: number, height: number}} Rectangle */

/**
 * One direction of a placement: the cell coordinate is `first + (last - first) * (x - start) / length`.
 * A mirrored direction has its ends exchanged, so that nothing else has to know about flips.
 * @param {Placement} p @param {'x'|'y'} direction
 */
export function direction(p, direction) {
  const across = direction === 'x';
  const crop = p.crop ?? [0, 0, p.frame[0], p.frame[1]];
  const mirrored = p.flip === 'diagonal' || p.flip === (across ? 'horizontal' : 'vertical');
  const ends = [p.cells[across ? 0 : 1], p.cells[across ? 2 : 3]];
  if (mirrored) ends.reverse();
  return { start: crop[across ? 1 : 0], length: crop[across ? 3 : 2], first: ends[0], last: ends[1] };
}

/**
 * The cell at a point of the frame, as real coordinates; null outside of the part that the network saw.
 * Beyond the map's edge the border cells go on, so `row` and `column` are always cells of the map.
 * @param {Placement} p @param {number} rows @param {number} cols @param {number} x @param {number} y
 */
export function cellAt(p, rows, cols, x, y) {
  const across = direction(p, 'x'),
    down = direction(p, 'y');
  const u = (x - across.start) / across.length,
    v = (y - down.start) / down.length;
  if (!(u >= 0 && u < 1 && v >= 0 && v < 1)) return null;
  const cellX = across.first + u * (across.last - across.first);
  const cellY = down.first + v * (down.last - down.first);
  return {
    x: cellX,
    y: cellY,
    row: clamp(Math.floor(cellY), 0, rows - 1),
    column: clamp(Math.floor(cellX), 0, cols - 1),
  };
}

/**
 * The rectangle of a cell, in pixels of the frame.
 * @param {Placement} p @param {number} row @param {number} col @returns {Rectangle}
 */
export function cellQuad(p, row, col) {
  const [x, width] = extent(direction(p, 'x'), col);
  const [y, height] = extent(direction(p, 'y'), row);
  return { x, y, width, height };
}

/** @param {{start: number, length: number, first: number, last: number}} d @param {number} cell */
function extent(d, cell) {
  const pixels = d.length / (d.last - d.first);
  const a = d.start + (cell - d.first) * pixels;
  return [Math.min(a, a + pixels), Math.abs(pixels)];
}

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** @param {View} view @param {number} width of the panel @param {number} height @param {number} x @param {number} y */
export function frameToScreen(view, width, height, x, y) {
  return { x: width / 2 + (x - view.x) * view.scale, y: height / 2 + (y - view.y) * view.scale };
}

/** @param {View} view @param {number} width of the panel @param {number} height @param {number} x @param {number} y */
export function screenToFrame(view, width, height, x, y) {
  return { x: view.x + (x - width / 2) / view.scale, y: view.y + (y - height / 2) / view.scale };
}

/**
 * The view that shows the whole frame.
 * @param {number[]} frame [height, width] @param {number} width @param {number} height @returns {View}
 */
export function fitView(frame, width, height) {
  const scale = Math.min(width / frame[1], height / frame[0]);
  return { x: frame[1] / 2, y: frame[0] / 2, scale: scale > 0 && Number.isFinite(scale) ? scale : 1 };
}

/**
 * The nearest view that shows no emptiness: not smaller than the whole frame, and not past its edges.
 * @param {View} view @param {number[]} frame @param {number} width @param {number} height
 * @param {number} [most] the largest scale @returns {View}
 */
export function clampView(view, frame, width, height, most = 48) {
  const least = fitView(frame, width, height).scale;
  const scale = clamp(view.scale, least, Math.max(least, most));
  /** @param {number} at @param {number} side @param {number} shown */
  const keep = (at, side, shown) => (shown >= side ? side / 2 : clamp(at, shown / 2, side - shown / 2));
  return { x: keep(view.x, frame[1], width / scale), y: keep(view.y, frame[0], height / scale), scale };
}

/**
 * Zoom by a factor; the point (x, y) of the panel stays where it is.
 * @param {View} view @param {number} width @param {number} height @param {number} x @param {number} y
 * @param {number} factor @returns {View}
 */
export function zoomAbout(view, width, height, x, y, factor) {
  const at = screenToFrame(view, width, height, x, y),
    scale = view.scale * factor;
  return { x: at.x - (x - width / 2) / scale, y: at.y - (y - height / 2) / scale, scale };
}
