// Paints a map, and the image under it, on a panel's canvas. WebGL where a graphics card draws it, else Canvas 2D.

import { drawCanvas, placedIndices } from './canvas.js';
import { lookupOf } from './palette.js';
import { frameToScreen } from './placement.js';
import { quantise } from './steps.js';
import { WebGLDrawing } from './webgl.js';

export { differenceOf } from './steps.js';

/**
 * @typedef {object} Scene all that a picture depends on; width, height and the view's scale are in pixels of the canvas
 * @property {number} width
 * @property {number} height
 * @property {import('./placement.js').View} view
 * @property {import('./placement.js').Placement} placement
 * @property {number[]} shape [rows, columns]
 * @property {Float32Array|null} values null: only the image
 * @property {number} low
 * @property {number} high
 * @property {Uint8Array} palette 768 bytes
 * @property {boolean} zero zero is in the middle of the range
 * @property {number} alpha
 * @property {boolean} fade
 * @property {boolean} smooth
 * @property {ImageBitmap|null} image
 * @property {'grey'|'colour'|'none'} photo
 */

/** The steps of one panel's last picture, each with what it was made of. */
export class Kept {
  constructor() {
    /** @type {Map<string, {key: unknown[], value: any}>} */
    this.steps = new Map();
  }

  /**
   * The step's result: the one from before if it was made of the same things.
   * @template T
   * @param {string} name
   * @param {unknown[]} key
   * @param {() => T} make
   * @returns {T}
   */
  keep(name, key, make) {
    const before = this.steps.get(name);
    if (before?.key.every((part, i) => Object.is(part, key[i]))) return before.value;
    const value = make();
    this.steps.set(name, { key, value });
    return value;
  }
}

export class Painter {
  /** @param {WebGLDrawing|null} webgl */
  constructor(webgl) {
    this.webgl = webgl;
    /** @type {WeakMap<CanvasRenderingContext2D, Kept>} */
    this.kept = new WeakMap();
    /** @type {Set<() => void>} called when all panels have to be painted again */
    this.listeners = new Set();
    if (webgl)
      webgl.changed = () => {
        for (const listener of this.listeners) listener();
      };
  }

  /** What draws now: 'webgl' or 'canvas'. */
  get kind() {
    return this.webgl && !this.webgl.lost ? 'webgl' : 'canvas';
  }

  /** @param {() => void} listener @returns {() => void} a function that ends it */
  onRepaint(listener) {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** @param {CanvasRenderingContext2D} context of the panel's own canvas @param {Scene} scene */
  paint(context, scene) {
    const { width, height } = scene;
    let kept = this.kept.get(context);
    if (!kept) {
      kept = new Kept();
      this.kept.set(context, kept);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, width, height);
    const image = scene.photo === 'none' ? null : scene.image;
    if (image) {
      const { x, y, scale } = scene.view;
      const ground = kept.keep(
        'ground',
        [image, scene.photo, x, y, scale, width, height, ...scene.placement.frame],
        () => drawGround(scene, image),
      );
      context.drawImage(ground, 0, 0);
    } else kept.steps.delete('ground');
    const { values } = scene;
    if (!values) return;
    const { low, high, palette, alpha, fade, zero } = scene,
      opaque = !image;
    const quantised = kept.keep('quantised', [values, low, high], () => quantise(values, low, high));
    const { marked } = quantised;
    const lookup = kept.keep('lookup', [palette, marked, opaque, alpha, fade, zero], () =>
      lookupOf(palette, { marked, opaque, alpha, fade, zero }),
    );
    const drawn =
      (this.webgl?.holds(scene) && this.webgl.draw(scene, quantised, lookup)) ||
      drawCanvas(scene, quantised, lookup, kept);
    if (!drawn) return;
    const { source, top, x, y } = drawn;
    context.imageSmoothingEnabled = false;
    context.drawImage(source, 0, top, drawn.width, drawn.height, x, y, drawn.width, drawn.height);
  }

  /** The indices that the canvas backend would draw, without drawing them; for tests. @param {Scene} scene */
  indicesOf(scene) {
    return placedIndices(
      scene,
      quantise(scene.values ?? new Float32Array(scene.shape[0] * scene.shape[1]), scene.low, scene.high),
    );
  }

  /** A panel is gone. @param {CanvasRenderingContext2D} context */
  forget(context) {
    this.kept.delete(context);
  }

  dispose() {
    this.listeners.clear();
    this.webgl?.dispose();
    this.webgl = null;
  }
}

/**
 * The image at its place on the screen. It is kept, because turning it grey takes longer than colouring a map.
 * @param {Scene} scene @param {ImageBitmap} image
 */
function drawGround({ width, height, view, placement, photo }, image) {
  const ground = document.createElement('canvas');
  ground.width = width;
  ground.height = height;
  const context = ground.getContext('2d');
  if (!context) return ground;
  // The part of the image that is on the screen: far away edges would lose their places to rounding.
  const [tall, wide] = placement.frame,
    across = image.width / wide,
    down = image.height / tall;
  const left = Math.max(0, Math.floor(view.x - width / 2 / view.scale)),
    top = Math.max(0, Math.floor(view.y - height / 2 / view.scale));
  const right = Math.min(wide, Math.ceil(view.x + width / 2 / view.scale)),
    bottom = Math.min(tall, Math.ceil(view.y + height / 2 / view.scale));
  if (right <= left || bottom <= top) return ground;
  const at = frameToScreen(view, width, height, left, top);
  context.imageSmoothingEnabled = view.scale < 4 * across; // enlarged further, the pixels themselves are to be seen
  context.imageSmoothingQuality = 'high';
  context.drawImage(
    image,
    left * across,
    top * down,
    (right - left) * across,
    (bottom - top) * down,
    at.x,
    at.y,
    (right - left) * view.scale,
    (bottom - top) * view.scale,
  );
  if (photo === 'grey') {
    // Its luma has the weights 0.3, 0.59 and 0.11, which are those of Pillow's "L".
    context.globalCompositeOperation = 'saturation';
    context.fillStyle = '#888';
    context.fillRect(at.x, at.y, (right - left) * view.scale, (bottom - top) * view.scale);
  }
  return ground;
}

/** @param {{prefer?: 'webgl'|'canvas'}} [options] prefer: force one; WebGL is otherwise only taken where it is fast */
export function createPainter({ prefer } = {}) {
  if (prefer === 'canvas') return new Painter(null);
  try {
    return new Painter(new WebGLDrawing({ allowSoftware: prefer === 'webgl' }));
  } catch {
    return new Painter(null);
  }
}
