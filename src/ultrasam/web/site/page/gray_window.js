// The window of gray levels that is shown, by its level and width. The network sees all gray levels.

import { byId } from './elements.js';

export const WHOLE = Object.freeze({ level: 128, width: 256, gamma: 1 });

/**
 * Shown gray levels of all 256, or null if each is shown as it is: `level` becomes mid-gray, `width` levels differ,
 * and `gamma` below 1 lightens what lies between.
 */
export function tableOf({ level, width, gamma = 1 }) {
  if (level === WHOLE.level && width === WHOLE.width && gamma === 1) return null;
  const low = level - width / 2;
  if (gamma === 1) return Uint8ClampedArray.from({ length: 256 }, (_, value) => ((value - low) / width) * 256);
  const share = (value) => Math.min(Math.max((value - low) / width, 0), 1);
  return Uint8ClampedArray.from({ length: 256 }, (_, value) => 255 * share(value) ** gamma);
}

/**
 * Listen to the sliders that the page has of level, width and gamma; `changed` is called with the settings.
 * Returns {toggle(), set(settings)}: open or close them; show other settings.
 */
export function listenToWindow(changed) {
  const [button, panel] = ['window-open', 'window'].map(byId);
  const sliders = Object.keys(WHOLE).map(byId).filter(Boolean);
  const show = (open) => {
    panel.hidden = !open;
    button.setAttribute('aria-expanded', open);
    panel.style.left = `${button.getBoundingClientRect().left}px`;
    if (open) sliders[0].focus();
  };
  const update = () => {
    for (const { id, value } of sliders) byId(`${id}-value`).textContent = value;
    changed(Object.fromEntries(sliders.map(({ id, value }) => [id, Number(value)])));
  };
  const set = (settings) => {
    for (const slider of sliders) slider.value = settings[slider.id] ?? WHOLE[slider.id];
    update();
  };
  for (const slider of sliders) slider.addEventListener('input', update);
  byId('window-reset').addEventListener('click', () => set(WHOLE));
  panel.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    show(false);
    button.focus();
  });
  document.addEventListener('pointerdown', ({ target }) => {
    if (!panel.hidden && !panel.contains(target) && !button.contains(target)) show(false);
  });
  return { toggle: () => show(panel.hidden), set };
}
