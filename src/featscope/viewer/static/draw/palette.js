// Colour maps: 256 colours for 256 indices, and their weights over an image.

export const NAN_INDEX = 255,
  INF_INDEX = 254;
export const NAN_COLOUR = [255, 0, 255],
  INF_COLOUR = [0, 255, 0];

/** Colours of boxes, by class: those of featscope.render.colour. White is for the ground truth. */
export const CLASS_COLOURS = [
  'rgb(255,214,10)',
  'rgb(0,224,255)',
  'rgb(255,110,64)',
  'rgb(124,255,78)',
  'rgb(255,120,220)',
  'rgb(150,160,255)',
  'rgb(64,156,255)',
  'rgb(0,200,150)',
  'rgb(255,170,120)',
  'rgb(200,255,220)',
  'rgb(220,180,255)',
  'rgb(160,220,255)',
];

const GROUND = 150; // the grey under the colours of a scale; it stands for the image under the map

/** @typedef {{marked: boolean, opaque: boolean, alpha: number, fade: boolean, zero: boolean}} Weights
 *  marked: the map has cells that are NaN or infinite; opaque: there is no image under it */

/** A colour map from the server's base64. @param {string} text */
export function paletteFrom(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * The colours of all indices, three bytes each. Where there are marks, the map spans 254 colours, and the last two are theirs.
 * @param {Uint8Array} palette 768 bytes @param {boolean} marked
 */
export function coloursOf(palette, marked) {
  if (!marked) return palette;
  const colours = new Uint8Array(768);
  for (let i = 0; i < INF_INDEX; i++) {
    const at = (i * 255) / 253,
      from = Math.min(Math.floor(at), 254),
      part = at - from;
    for (let c = 0; c < 3; c++) {
      const a = palette[3 * from + c],
        b = palette[3 * from + 3 + c];
      colours[3 * i + c] = Math.round(a + (b - a) * part);
    }
  }
  colours.set(INF_COLOUR, 3 * INF_INDEX);
  colours.set(NAN_COLOUR, 3 * NAN_INDEX);
  return colours;
}

/** The weight of each index's colour over the image, 0 to 255. @param {Weights} options */
export function weightsOf({ marked, opaque, alpha, fade, zero }) {
  const weights = new Uint8Array(256).fill(255);
  if (opaque) return weights;
  const levels = marked ? INF_INDEX : 256;
  for (let i = 0; i < 256; i++) {
    let weight = 255;
    if (fade && i < levels) {
      const at = Math.round((i * 255) / (levels - 1));
      weight = Math.floor(Math.min(zero ? Math.abs(at - 127.5) * 3.2 : at * 3, 255));
    }
    weights[i] = Math.round(weight * alpha);
  }
  return weights;
}

/**
 * The colour of each index as one number, in the order of the bytes of an ImageData: red, green, blue, weight.
 * @param {Uint8Array} palette @param {Weights} options
 */
export function lookupOf(palette, options) {
  const colours = coloursOf(palette, options.marked),
    weights = weightsOf(options);
  const bytes = new Uint8Array(1024);
  for (let i = 0; i < 256; i++) {
    bytes.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
    bytes[4 * i + 3] = weights[i];
  }
  return new Uint32Array(bytes.buffer);
}

/**
 * The colours as they look over a grey image, for the scale: opaque, from the first value to the last.
 * @param {Uint32Array} lookup @param {boolean} marked
 */
export function seenOf(lookup, marked) {
  const bytes = new Uint8Array(lookup.buffer, lookup.byteOffset, 1024);
  const count = marked ? INF_INDEX : 256,
    seen = new Uint8ClampedArray(4 * count);
  for (let i = 0; i < count; i++) {
    const weight = bytes[4 * i + 3] / 255;
    for (let c = 0; c < 3; c++) seen[4 * i + c] = bytes[4 * i + c] * weight + GROUND * (1 - weight);
    seen[4 * i + 3] = 255;
  }
  return seen;
}
