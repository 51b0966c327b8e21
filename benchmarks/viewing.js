// Watches the page for viewing.py; it runs before the page's own scripts.
(() => {
  const probe = { key: 0, frames: [] };
  window.probe = probe;
  const { drawImage, putImageData } = CanvasRenderingContext2D.prototype;
  // Expect a picture: of which sample, on which canvas.
  probe.expect = (sample = '', canvas = '.panel-map') => {
    Object.assign(probe, { sample, canvas, busy: canvas === '.panel-map' ? '.panel' : '.tiles', on: true });
    probe.done = new Promise((resolve, reject) => {
      probe.resolve = resolve;
      setTimeout(reject, 60000, new Error(`no picture of ${sample} after a minute`));
    });
  };
  const drawn = (canvas) => {
    if (!probe.on || !canvas.matches(probe.canvas) || !document.title.startsWith(probe.sample)) return;
    if (document.querySelector(probe.busy)?.getAttribute('aria-busy') !== 'false') return;
    probe.on = false;
    const began = performance.now(),
      { port1, port2 } = new MessageChannel();
    const { key, frame } = probe,
      origin = performance.timeOrigin;
    port1.onmessage = () => probe.resolve({ at: performance.now(), key, frame, began, origin });
    port2.postMessage(0);
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...args) {
    drawImage.apply(this, args);
    if (args.length === 9) drawn(this.canvas); // three: the image alone
  };
  CanvasRenderingContext2D.prototype.putImageData = function (...args) {
    putImageData.apply(this, args);
    drawn(this.canvas);
  };
  addEventListener(
    'keydown',
    (event) => {
      probe.key = event.timeStamp;
    },
    { capture: true },
  );
  const tick = (now) => {
    probe.frame = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  // What is on the canvas, small.
  probe.pixels = (canvas) => {
    const small = new OffscreenCanvas(32, 32).getContext('2d');
    small.drawImage(document.querySelector(canvas), 0, 0, 32, 32);
    return [...new Uint32Array(small.getImageData(0, 0, 32, 32).data.buffer)];
  };
  // When so many samples are listed, and the first row is in its place.
  probe.listed = (count) =>
    new Promise((resolve) => {
      const look = () => {
        const row = document.querySelector('.list .row:not([hidden])');
        const there =
          row && row.getAttribute('aria-setsize') === String(count) && row.querySelector('.name').textContent;
        if (there) resolve(performance.now());
        else requestAnimationFrame(look);
      };
      look();
    });
  // Scroll a little with each frame, with pauses, and far; the times between frames.
  probe.scroll = async () => {
    const list = document.querySelector('.list'),
      gaps = [];
    let before = await new Promise(requestAnimationFrame);
    for (let i = 0; i < 300; i++) {
      if (i % 75 === 74) list.scrollTop = (list.scrollHeight * (i % 7)) / 7;
      else if (i % 75 < 60) list.scrollTop += 40 + (i % 75) * 4;
      const now = await new Promise(requestAnimationFrame);
      gaps.push(now - before);
      before = now;
    }
    return gaps;
  };
  // Bytes of the page's own files, with their headers; and when a question was last asked.
  const entries = (type) => performance.getEntriesByType(type);
  const own = ({ name }) => name.startsWith('http') && !name.includes('/ask/');
  probe.sizes = () => [...entries('navigation'), ...entries('resource')].filter(own).map((entry) => entry.transferSize);
  const asked =
    (question) =>
    ({ name }) =>
      name.includes(`/ask/${question}`);
  probe.asked = (question) => entries('resource').filter(asked(question)).at(-1).startTime;
  probe.expect();
})();
