// To come. A mode is `{mount(root, app), update(state, view), unmount()}`; null leaves it out of the page.

/** @type {import('./main.js').Mode|null} */
export const channels = null;
