// The map with WebGL 2: one context for all panels. Cells and colours are textures; blending is done for each pixel.

import { line } from './steps.js';

/** @typedef {import('./painter.js').Scene} Scene */
/** @typedef {import('./steps.js').Quantised} Quantised */

const VERTICES = `#version 300 es
void main() {
  gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

// Cells lie one after the other in a texture of any width, so that a map may be longer than the longest texture.
const FRAGMENTS = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
uniform usampler2D cells;
uniform sampler2D colours;
uniform ivec3 shape;
uniform ivec4 ends;
uniform vec2 first;
uniform vec2 step_;
uniform float height;
uniform bool smooth_;
uniform bool marked;
out vec4 colour;

uint cell(ivec2 at) {
  ivec2 inside = clamp(at, ivec2(0), shape.yx - 1);
  int i = inside.y * shape.y + inside.x;
  return texelFetch(cells, ivec2(i % shape.z, i / shape.z), 0).r;
}

vec2 weight(vec2 here, vec2 at, vec2 reach) {
  if (smooth_) return max(vec2(0.0), 1.0 - abs(here + 0.5 - at) / reach);
  return max(vec2(0.0), min(at + reach, here + 1.0) - max(at - reach, here));
}

void main() {
  vec2 at = first + step_ * vec2(gl_FragCoord.x - 0.5, height - gl_FragCoord.y - 0.5);
  vec2 covers = abs(step_);
  ivec2 near = ivec2(floor(at + 1e-5));
  uint mark = cell(near);
  float index = float(mark);
  if ((smooth_ || covers.x > 1.0 || covers.y > 1.0) && !(marked && mark >= 254u)) {
    vec2 reach = smooth_ ? max(vec2(1.0), covers) : max(vec2(1e-4), covers / 2.0);
    ivec2 low = ivec2(floor(at - reach)), high = ivec2(floor(at + reach));
    low = max(low, min(ivec2(0), ends.xy));
    high = min(high, max(shape.yx, ends.zw) - 1);
    if (!smooth_ && covers.x <= 1.0) low.x = high.x = near.x;
    if (!smooth_ && covers.y <= 1.0) low.y = high.y = near.y;
    vec2 total = vec2(0.0);
    float sum = 0.0;
    for (int y = low.y; y <= high.y; y++) {
      float wy = !smooth_ && covers.y <= 1.0 ? 1.0 : weight(vec2(y), at, reach).y, part = 0.0;
      total = vec2(0.0, total.y + wy);
      for (int x = low.x; x <= high.x; x++) {
        float wx = !smooth_ && covers.x <= 1.0 ? 1.0 : weight(vec2(x), at, reach).x;
        uint found = cell(ivec2(x, y));
        total.x += wx;
        if (!marked || found < 254u) part += wx * float(found);
      }
      sum += wy * part;
    }
    index = floor(sum / (total.x * total.y) + 0.5);
  }
  colour = texelFetch(colours, ivec2(int(index), 0), 0);
  colour.rgb *= colour.a;
}`;

const KEPT = 24; // number of maps whose cells stay in the memory of the graphics card

/** Draws maps into one canvas. `lost` is true while the browser has taken the context away. */
export class WebGLDrawing {
  /** @param {{allowSoftware: boolean}} options */
  constructor({ allowSoftware }) {
    this.canvas = document.createElement('canvas');
    const gl = this.canvas.getContext('webgl2', { antialias: false, depth: false, premultipliedAlpha: true });
    if (!gl) throw new Error('WebGL 2 is not there');
    if (!allowSoftware && isSoftware(gl)) {
      gl.getExtension('WEBGL_lose_context')?.loseContext();
      throw new Error('WebGL is drawn by software');
    }
    this.gl = gl;
    this.lost = false;
    /** @type {Map<Quantised, {texture: WebGLTexture, width: number}>} the last used comes last */
    this.maps = new Map();
    /** @type {() => void} is called when the context has been lost or restored */
    this.changed = () => {};
    this.canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault(); // otherwise it would never be restored
      this.lost = true;
      this.maps.clear();
      this.changed();
    });
    this.canvas.addEventListener('webglcontextrestored', () => {
      try {
        this.prepare();
        this.lost = false;
        this.changed();
      } catch {
        // It stays lost, and the canvas goes on drawing.
      }
    });
    this.prepare();
  }

  prepare() {
    const { gl } = this,
      program = gl.createProgram();
    for (const [kind, text] of /** @type {[number, string][]} */ ([
      [gl.VERTEX_SHADER, VERTICES],
      [gl.FRAGMENT_SHADER, FRAGMENTS],
    ])) {
      const shader = gl.createShader(kind);
      if (!shader || !program) throw new Error('WebGL has no memory');
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    if (!program) throw new Error('WebGL has no memory');
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? '');
    gl.useProgram(program);
    /** @param {string} name */
    const find = (name) => gl.getUniformLocation(program, name);
    this.uniforms = Object.fromEntries(
      ['cells', 'colours', 'shape', 'ends', 'first', 'step_', 'height', 'smooth_', 'marked'].map((name) => [
        name,
        find(name),
      ]),
    );
    gl.uniform1i(this.uniforms.cells, 0);
    gl.uniform1i(this.uniforms.colours, 1);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.bindVertexArray(gl.createVertexArray());
    this.colours = gl.createTexture();
    /** @type {Uint32Array|null} */
    this.lookup = null;
    this.largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
  }

  /** Whether a picture of this size and this number of cells can be drawn. @param {Scene} scene */
  holds(scene) {
    const most = this.largest ?? 0;
    return !this.lost && Math.max(scene.width, scene.height) <= most && scene.shape[0] * scene.shape[1] <= most * most;
  }

  /** @param {WebGLTexture|null} texture */
  bind(texture) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const [name, value] of [
      [gl.TEXTURE_MIN_FILTER, gl.NEAREST],
      [gl.TEXTURE_MAG_FILTER, gl.NEAREST],
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE],
      [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE],
    ]) {
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    }
  }

  /** @param {Quantised} quantised @param {number[]} shape */
  useMap(quantised, shape) {
    const { gl } = this;
    let found = this.maps.get(quantised);
    gl.activeTexture(gl.TEXTURE0);
    if (found) {
      this.maps.delete(quantised);
      gl.bindTexture(gl.TEXTURE_2D, found.texture);
    } else {
      const texture = gl.createTexture();
      if (!texture) return null;
      const count = quantised.indices.length,
        most = this.largest ?? 2048;
      const width = shape[1] <= most && shape[0] <= most ? shape[1] : most,
        rows = Math.ceil(count / width);
      let bytes = quantised.indices;
      if (rows * width !== count) {
        bytes = new Uint8Array(rows * width);
        bytes.set(quantised.indices);
      }
      this.bind(texture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, width, rows, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, bytes);
      found = { texture, width };
    }
    this.maps.set(quantised, found);
    if (this.maps.size > KEPT) {
      const [oldest, { texture }] = /** @type {[Quantised, {texture: WebGLTexture}]} */ (
        this.maps.entries().next().value
      );
      gl.deleteTexture(texture);
      this.maps.delete(oldest);
    }
    return found;
  }

  /**
   * @param {Scene} scene
   * @param {Quantised} quantised
   * @param {Uint32Array} lookup
   */
  draw(scene, quantised, lookup) {
    const { gl, canvas } = this,
      { shape } = scene,
      u = this.uniforms;
    const across = line(scene.placement, 'x', scene.view, scene.width),
      down = line(scene.placement, 'y', scene.view, scene.height);
    const width = across.to - across.from,
      height = down.to - down.from;
    if (!u || width < 1 || height < 1) return null;
    if (canvas.width < width) canvas.width = width; // it only grows, because each change costs time
    if (canvas.height < height) canvas.height = height;
    const map = this.useMap(quantised, shape);
    if (!map) return null;
    gl.activeTexture(gl.TEXTURE1);
    if (this.lookup === lookup) gl.bindTexture(gl.TEXTURE_2D, this.colours ?? null);
    else {
      this.bind(this.colours ?? null);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(lookup.buffer));
      this.lookup = lookup;
    }
    gl.uniform3i(u.shape, shape[0], shape[1], map.width);
    gl.uniform4i(u.ends, across.ends[0], down.ends[0], across.ends[1], down.ends[1]);
    gl.uniform2f(u.first, across.first + across.from * across.step, down.first + down.from * down.step);
    gl.uniform2f(u.step_, across.step, down.step);
    gl.uniform1f(u.height, height);
    gl.uniform1i(u.smooth_, scene.smooth ? 1 : 0);
    gl.uniform1i(u.marked, quantised.marked ? 1 : 0);
    gl.viewport(0, 0, width, height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    if (gl.isContextLost()) return null;
    return { source: canvas, top: canvas.height - height, x: across.from, y: down.from, width, height };
  }

  dispose() {
    this.changed = () => {};
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}

/** Whether the browser draws WebGL without a graphics card, which is slower than a plain canvas. @param {WebGL2RenderingContext} gl */
function isSoftware(gl) {
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}
