// What keys do, and the list of them.

import { byId, make } from './elements.js';

const SHOWN = [
  ['Click', 'add to the object under the pointer'], ['Right click, Shift+click', 'remove from it'],
  ['Drag', 'box around an object'], ['Tab', 'next of the three masks of a click'], ['Enter', 'accept the object'],
  ['N', 'new object'], ['Delete', 'remove the object'], ['Ctrl+Z, Ctrl+Y', 'undo, redo'],
  ['Wheel, F', 'zoom, show the whole picture'], ['Space+drag', 'pan'], ['← →', 'previous and next frame'],
  ['Page Up, Page Down', 'previous and next picture'], ['H (held)', 'hide the masks'], ['W', 'window of gray levels'],
  ['K', 'a pointer that arrows move; Enter adds, Shift+Enter removes'], ['O', 'open pictures'],
  ['Ctrl+S', 'save as COCO'], ['L', 'show or hide the list of pictures'],
];

/** Listen to keys; `act` are the page's actions. */
export function listenToKeys(act) {
  byId('key-list').replaceChildren(...SHOWN.flatMap(([key, text]) =>
    [make('dt', { textContent: key }), make('dd', { textContent: text })]));
  const plain = {
    n: act.newObject, N: act.newObject, Enter: act.accept, Delete: act.removeActive, Backspace: act.removeActive,
    f: act.fit, F: act.fit, o: act.choosePictures, O: act.choosePictures, l: act.fold, L: act.fold, '?': act.help,
    ArrowLeft: () => act.step(-1), ArrowRight: () => act.step(1), PageUp: () => act.nextPicture(-1),
    PageDown: () => act.nextPicture(1), h: () => act.hide(true), H: () => act.hide(true), ' ': () => act.pan(true),
    Escape: act.escape, w: () => act.window(), W: () => act.window(), k: act.pointer, K: act.pointer,
  };
  const control = { z: act.undo, y: act.redo, Z: act.redo, s: act.saveCoco };
  document.addEventListener('keydown', (event) => {
    if (event.target.matches?.('input:not([type=range]):not([type=checkbox])') || byId('keys').open || event.altKey) return;
    const onCanvas = event.target === byId('canvas') || event.target === document.body;
    if (event.key === 'Tab' && !event.ctrlKey && onCanvas && act.nextCandidate(event.shiftKey ? -1 : 1)) {
      event.preventDefault();
      return;
    }
    if (!onCanvas && [' ', 'Enter', 'ArrowLeft', 'ArrowRight'].includes(event.key)) return; // a button's own keys
    const action = (event.ctrlKey || event.metaKey ? control : plain)[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.addEventListener('keyup', ({ key }) => {
    if (key === 'h' || key === 'H') act.hide(false);
    if (key === ' ') act.pan(false);
  });
}
