// What leaves the page: its address, the command that draws the same picture, and the picture.
import { t } from './words.js';

/** @typedef {import('./main.js').App} App */

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    /* not allowed here, or not a secure page: the old way */
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'unseen';
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  if (!done) throw new Error(t('error.copy'));
}

/** What `featscope heat` cannot draw of what is on the page, in words. @param {App} app */
function lacking(app) {
  const { state } = app.view();
  const parts = [
    state.mode !== 'stage' && t('share.only_map'),
    state.classes.length && state.boxes !== 'none' && t('share.classes'),
    !state.fade && t('fade.title'),
    state.photo !== 'grey' && t('photo.title'),
  ].filter(Boolean);
  return parts.length ? ` ${t('share.without', parts.join(', '))}` : '';
}

/** What the server needs to draw what is on the page. @param {App} app */
function picture(app) {
  const { state, index, group, level } = app.view();
  if (group === null) throw new Error(t('error.nothing'));
  if (state.explanation !== null) throw new Error(t('share.explanation'));
  return {
    run: state.run,
    sample: index,
    group,
    level,
    slice: state.slice || null,
    reduce: state.reduce,
    range: state.range,
    colormap: state.colormap,
    alpha: state.opacity,
    boxes: Number(state.boxes === 'detections' || state.boxes === 'both'),
    truth: Number(state.boxes === 'truth' || state.boxes === 'both'),
    min_score: state.score,
    smooth: Number(state.smooth),
  };
}

/** @param {App} app */
export async function copyLink(app) {
  app.flush();
  await copy(location.href);
  app.say(t('share.link_copied'));
}

/** @param {App} app */
export async function copyCommand(app) {
  const { command } = await app.ask('command', picture(app), { role: 'command' });
  await copy(command);
  app.say(t('share.command_copied', command) + lacking(app));
}

/** @param {App} app */
export async function savePicture(app) {
  const { sample, state, group, level } = app.view();
  const blob = await app.ask('picture', picture(app), { role: 'picture' });
  const { layer, field } = app.about.runs[state.run].groups[/** @type {number} */ (group)];
  const name = `${[sample?.id, layer, field].filter(Boolean).join('_')}_level${level}.png`.replace(
    /[^\p{L}\p{N}._-]+/gu,
    '_',
  );
  const anchor = document.createElement('a');
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 60000);
  app.say(t('share.saved', name) + lacking(app));
}
