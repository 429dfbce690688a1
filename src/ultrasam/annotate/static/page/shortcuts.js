// What keys do. A person may change them; the project keeps what was changed.

/** All actions: their name for the settings, what they do, and their keys. */
export const ACTIONS = [
  ['prompt', 'Click and box', 'C'], ['brush', 'Brush', 'B'], ['eraser', 'Eraser', 'E'], ['polygon', 'Polygon: put or drag corners', 'P'],
  ['move', 'Select and move', 'V'], ['smaller', 'Smaller brush', '['], ['larger', 'Larger brush', ']'],
  ['accept', 'Accept the mask (closes a polygon first)', 'Enter'], ['acceptAll', 'Accept all masks of this frame', 'Shift+Enter'],
  ['newObject', 'New object', 'N'], ['next', 'Next mask of a click; else next suggestion', 'Tab'],
  ['previous', 'The one before', 'Shift+Tab'], ['remove', 'Remove the object', 'Delete'], ['clear', 'Clear its mask in this frame', 'Shift+Delete'],
  ['undo', 'Undo', 'Ctrl+Z'], ['redo', 'Redo', 'Ctrl+Y'], ['undoObject', 'Undo on this object only', 'Alt+Z'], ['redoObject', 'Redo on this object only', 'Alt+Y'],
  ['frameBack', 'Previous frame', 'ArrowLeft'], ['frameForward', 'Next frame', 'ArrowRight'],
  ['keyBack', 'Previous key frame', 'Shift+ArrowLeft'], ['keyForward', 'Next key frame', 'Shift+ArrowRight'],
  ['firstFrame', 'First frame', 'Home'], ['lastFrame', 'Last frame', 'End'], ['play', 'Play or pause', 'R'],
  ['propagate', 'Propagate both ways', 'G'], ['interpolate', 'Fill between accepted frames', 'I'],
  ['nextImage', 'Next image', 'PageDown'], ['previousImage', 'Previous image', 'PageUp'], ['done', 'Done, and next image', 'Ctrl+Enter'],
  ['nothing', 'Nothing to draw here', 'X'], ['flag', 'Flag the image', 'U'],
  ['fit', 'Show the whole picture', 'F'], ['zoomIn', 'Zoom in', '+'], ['zoomOut', 'Zoom out', '-'], ['window', 'Window of gray levels', 'W'],
  ['planes', 'Planes across the slices of a volume', 'O'],
  ['names', 'Show or hide names and measures', 'T'], ['pointer', 'A pointer that arrow keys move; Enter adds, Shift+Enter removes', 'K'],
  ['fold', 'Show or hide the list of images', 'L'], ['escape', 'Let go: message, corners, object', 'Escape'], ['help', 'These keys', '?'],
].map(([name, text, key]) => ({ name, text, key }));

/** What no key changes. */
export const FIXED = [
  ['Click', 'add to the object, or begin one'], ['Right click, Shift+click', 'remove from it'], ['Drag', 'a box around an object'],
  ['Wheel, two fingers', 'zoom'], ['Space+drag, middle button, finger', 'pan'], ['Tap, long tap (without a pen)', 'click, right click'], ['H (held)', 'hide the masks'], ['0–9', 'label of the object, or of the next one'],
];

const RESERVED = new Set(['Ctrl+W', 'Ctrl+T', 'Ctrl+N', 'Ctrl+R', 'Ctrl+L', 'Ctrl+Q', 'F5', 'F11', 'F12', ' ', 'H']);
const NAMED = { ArrowLeft: '←', ArrowRight: '→', ArrowUp: '↑', ArrowDown: '↓', PageUp: 'Page Up', PageDown: 'Page Down', Delete: 'Delete' };

/** A key event as text: `Ctrl+Z`. Shift counts where the key is not a character that it makes. */
export function keyOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  const single = key.length === 1;
  const letter = single && key.toLowerCase() !== key.toUpperCase();
  const name = key === 'Backspace' ? 'Delete' : letter ? key.toUpperCase() : key;
  const parts = [ctrlKey || metaKey ? 'Ctrl' : '', altKey ? 'Alt' : '', shiftKey && (!single || letter) ? 'Shift' : '', name];
  return parts.filter(Boolean).join('+');
}

/** A key as it is shown. */
export function shownKey(key) {
  return key.split(/\+(?=.)/).map((part) => NAMED[part] ?? part).join('+');
}

export class Shortcuts {
  /** `changed` is a person's {name: key}; `act` holds what each action does. */
  constructor(act) {
    // After Escape, Tab leaves the picture, so that nobody is held there.
    Object.assign(this, { act, changed: {}, recording: null, leaves: false });
    document.addEventListener('pointerdown', () => { this.leaves = false; });
    document.addEventListener('keydown', (event) => this.#down(event));
    document.addEventListener('keyup', (event) => this.#up(event));
    window.addEventListener('blur', () => { act.hide(false); act.pan(false); });
  }

  keyFor(name) {
    return this.changed[name] ?? ACTIONS.find((action) => action.name === name).key;
  }

  /** Why a key cannot be an action's, or null. */
  conflict(name, key) {
    if (RESERVED.has(key) || /^[0-9]$/.test(key)) return `${shownKey(key)} has a use that cannot be changed; choose another key.`;
    const other = ACTIONS.find((action) => action.name !== name && this.keyFor(action.name) === key);
    return other ? `${shownKey(key)} is the key of “${other.text}”; change that one first.` : null;
  }

  #down(event) {
    if (this.recording) {
      if (['Shift', 'Control', 'Alt', 'Meta'].includes(event.key)) return;
      event.preventDefault();
      const { recording } = this;
      this.recording = null;
      recording(event.key === 'Escape' ? null : keyOf(event));
      return;
    }
    const { target } = event;
    if (target.matches?.('input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select')) return;
    const onPicture = target === document.body || target.id === 'canvas';
    if (!onPicture && ownKey(target, event)) return;
    const { act } = this;
    if (event.key === ' ') act.pan(true);
    else if (keyOf(event) === 'H') act.hide(true);
    else if (/^[0-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) act.label(event.key);
    else if (!this.#perform(event)) return;
    event.preventDefault();
  }

  #perform(event) {
    // On a keyboard with a Ctrl+Shift+Z, that is redo as well.
    const key = keyOf(event);
    const name = key === 'Ctrl+Shift+Z' ? 'redo' : ACTIONS.find((action) => this.keyFor(action.name) === key)?.name;
    if (event.key === 'Tab' && (event.target.id !== 'canvas' || this.leaves)) return false;
    if (!['Tab', 'Shift'].includes(event.key)) this.leaves = event.key === 'Escape';
    if (!name) return false;
    return this.act[name]() !== false;
  }

  #up({ key }) {
    if (key === 'h' || key === 'H') this.act.hide(false);
    if (key === ' ') this.act.pan(false);
  }
}

/** Whether an element that has the focus takes a key itself. */
function ownKey(target, { key }) {
  if (target.matches('input[type=range], [role=slider]')) return key.startsWith('Arrow') || ['Home', 'End', 'PageUp', 'PageDown'].includes(key);
  if (target.matches('[role=tab]') && key.startsWith('Arrow')) return true;
  return [' ', 'Enter'].includes(key) && target.matches('button, a, input, summary');
}
