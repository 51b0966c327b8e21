// The map on a Canvas 2D, in plain JavaScript. The steps are kept: a change of colours only looks colours up.

import { axisOf, colour, line, placeIndices } from './steps.js';

/** @typedef {import('./painter.js').Scene} Scene */
/** @typedef {import('./painter.js').Kept} Kept */

/**
 * An index for each screen pixel of the part of the map that is on the screen.
 * @param {Scene} scene @param {import('./steps.js').Quantised} quantised
 */
export function placedIndices(scene, quantised) {
  const { placement, view, width, height, shape, smooth } = scene;
  const across = axisOf(line(placement, 'x', view, width), shape[1], smooth);
  const down = axisOf(line(placement, 'y', view, height), shape[0], smooth);
  const placed = placeIndices(quantised, shape[1], across, down);
  return { placed, x: across.from, y: down.from, width: across.to - across.from, height: down.to - down.from };
}

/** @type {HTMLCanvasElement|undefined} one canvas for all panels: its content is copied at once */
let scratch;
/** @type {ImageData|undefined} */
let pixels;

/** @param {Scene} scene @param {import('./steps.js').Quantised} quantised @param {Uint32Array} lookup @param {Kept} kept */
export function drawCanvas(scene, quantised, lookup, kept) {
  const { placement, view, width, height, shape, smooth } = scene;
  const key = [placement, view.x, view.y, view.scale, width, height, shape[0], shape[1], smooth, quantised];
  const cached = kept.keep('placed', key, () => placedIndices(scene, quantised));
  if (!cached.placed.length) return null;
  scratch ??= document.createElement('canvas');
  if (scratch.width !== cached.width || scratch.height !== cached.height || !pixels) {
    scratch.width = cached.width;
    scratch.height = cached.height;
    pixels = new ImageData(cached.width, cached.height);
  }
  colour(cached.placed, lookup, new Uint32Array(pixels.data.buffer));
  const context = scratch.getContext('2d');
  if (!context) return null;
  context.putImageData(pixels, 0, 0);
  return { source: scratch, top: 0, x: cached.x, y: cached.y, width: cached.width, height: cached.height };
}
