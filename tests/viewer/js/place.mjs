// Reads scenes from standard input, and writes the pictures of indices that the canvas backend computes at scale 1.
// Run by test_painting.py.

import { readFileSync } from 'node:fs';

import { placedIndices } from '../../../src/featscope/viewer/static/draw/canvas.js';
import { boundsOf } from '../../../src/featscope/viewer/static/draw/ranges.js';
import { quantise } from '../../../src/featscope/viewer/static/draw/steps.js';

const scenes = JSON.parse(readFileSync(0, 'utf8'));
const pictures = scenes.map(({ values, shape, placement, range, inside, smooth }) => {
  const floats = new Float32Array(Uint8Array.from(Buffer.from(values, 'base64')).buffer);
  const [low, high] = boundsOf(floats, shape, inside, range);
  const [height, width] = placement.frame;
  const scene = { width, height, view: { x: width / 2, y: height / 2, scale: 1 }, placement, shape, smooth };
  const { placed, ...area } = placedIndices(scene, quantise(floats, low, high));
  return { ...area, low, high, indices: Buffer.from(placed).toString('base64') };
});
process.stdout.write(JSON.stringify(pictures));
