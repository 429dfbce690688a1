// The window of gray levels that is shown, by its level and width. The network sees all gray levels.

import { byId } from './elements.js';

const WHOLE = Object.freeze({ level: 128, width: 256 });

/** Shown gray levels of all 256, or null if each is shown as it is: `level` becomes mid-gray, `width` levels differ. */
export function tableOf({ level, width }) {
  if (level === WHOLE.level && width === WHOLE.width) return null;
  const low = level - width / 2;
  return Uint8ClampedArray.from({ length: 256 }, (_, value) => ((value - low) / width) * 256);
}

/** Listen to the two sliders; `changed` is called with a table as above. Returns a function that opens or closes them. */
export function listenToWindow(changed) {
  const [button, panel, level, width] = ['window-open', 'window', 'level', 'width'].map(byId);
  const show = (open) => {
    panel.hidden = !open;
    button.setAttribute('aria-expanded', open);
    panel.style.left = `${button.getBoundingClientRect().left}px`;
    if (open) level.focus();
  };
  const update = () => {
    byId('level-value').textContent = level.value;
    byId('width-value').textContent = width.value;
    changed(tableOf({ level: Number(level.value), width: Number(width.value) }));
  };
  for (const slider of [level, width]) slider.addEventListener('input', update);
  byId('window-reset').addEventListener('click', () => {
    [level.value, width.value] = [WHOLE.level, WHOLE.width];
    update();
  });
  panel.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    show(false);
    button.focus();
  });
  document.addEventListener('pointerdown', ({ target }) => {
    if (!panel.hidden && !panel.contains(target) && !button.contains(target)) show(false);
  });
  return () => show(panel.hidden);
}
