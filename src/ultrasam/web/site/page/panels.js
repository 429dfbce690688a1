// Shows the state of the page beside the picture: pictures, objects, prompts, history, frames, candidates.

import { areaOf, areaText } from '../saving/areas.js';
import { byId, icon, make } from './elements.js';
import { maskOf } from './pictures.js';

/** Show everything; `act` are the page's actions, as in main.js. */
export function showPanels(pictures, picture, act) {
  showQueue(pictures, picture, act);
  showObjects(picture, act);
  showPrompts(picture);
  showHistory(picture, act);
  showFrames(picture, act);
  showCandidates(picture, act);
  showNotes(picture);
  showButtons(pictures, picture);
}

function showQueue(pictures, picture, act) {
  byId('pictures').replaceChildren(...pictures.map((each) => {
    const { name, frames } = each.scan;
    const count = each.objects.length;
    const lines = [...(frames > 1 ? [`${frames} frames`] : []), `${count} object${count === 1 ? '' : 's'}`];
    return make('li', {}, make(
      'button', { title: name, on: { click: () => act.openPicture(each) }, aria: { current: each === picture } },
      ...(each.thumbnail ? [each.thumbnail] : []),
      make('span', { textContent: name }), ...lines.map((line) => make('span', { className: 'quiet', textContent: line })),
    ));
  }));
}

function showObjects(picture, act) {
  const shown = picture?.shown ?? [];
  byId('objects-empty').hidden = shown.length > 0;
  const focused = document.activeElement?.dataset?.object;
  if (focused && shown.some(({ id }) => id === focused)) return; // a label is being typed
  byId('objects').replaceChildren(...shown.map((object) => objectRow(object, picture, act)));
}

function objectRow(object, picture, act) {
  const active = object.id === picture.active;
  const swatch = make('span', { className: 'swatch' });
  swatch.style.background = object.color;
  const label = make('input', {
    value: object.label, title: 'Label', maxLength: 80, aria: { label: `Label of ${object.label}` },
    on: {
      change: ({ target }) => act.relabel(object, target.value),
      keydown: ({ key, target }) => key === 'Enter' && target.blur(),
    },
  });
  label.dataset.object = object.id;
  const eye = make('button', {
    title: object.visible ? 'Hide' : 'Show', aria: { label: `Show ${object.label}`, pressed: object.visible },
    on: { click: (event) => { event.stopPropagation(); act.toggle(object); } },
  }, icon(object.visible ? 'shown' : 'hidden'));
  const away = make('button', {
    title: 'Remove the object (Delete)', aria: { label: `Remove ${object.label}` },
    on: { click: (event) => { event.stopPropagation(); act.remove(object); } },
  }, icon('remove'));
  const state = object.accepted ? 'accepted by you' : 'suggested by the model; Enter accepts it';
  const select = make('button', {
    className: 'select', title: `Select the object (${state})`, aria: { label: `Select ${object.label} (${state})`, pressed: active },
  }, swatch, object.accepted ? '✓' : '○');
  return make('li', {
    className: active ? 'active' : '',
    on: { click: ({ target }) => target !== label && act.activate(object) },
  }, select, label, areaElement(object, picture), eye, away);
}

function areaElement(object, picture) {
  const mask = maskOf(object);
  if (!mask) return '';
  const area = areaOf(mask, picture.scan.spacing);
  const iou = object.candidates[object.choice].iou;
  const title = `${area.why ? `${area.why} ` : ''}Predicted IoU ${iou.toFixed(2)}.`;
  return make(area.why ? 'i' : 'span', { className: 'area', textContent: areaText(area), title });
}

function showPrompts(picture) {
  const object = picture?.activeObject;
  const parts = [];
  const count = (label) => object?.points.filter((point) => point.label === label).length ?? 0;
  const clicks = [[count(1), 'to add'], [count(0), 'to remove']].filter(([number]) => number);
  if (clicks.length) parts.push(`Clicks: ${clicks.map(([number, what]) => `${number} ${what}`).join(', ')}.`);
  if (object?.box) {
    const [x0, y0, x1, y1] = object.box.map(Math.round);
    parts.push(`Box: (${x0}, ${y0}) to (${x1}, ${y1}) px.`);
  }
  byId('prompts').textContent = parts.join(' ') || 'None.';
}

function showHistory(picture, act) {
  const steps = picture?.steps ?? [];
  byId('history').replaceChildren(...steps.map(({ name }, i) => make('li', {}, make('button', {
    textContent: name, className: i > picture.at ? 'undone' : '', aria: { current: i === picture.at },
    on: { click: () => act.go(i) },
  }))));
  byId('history').querySelector('[aria-current=true]')?.scrollIntoView({ block: 'nearest' });
}

function showFrames(picture, act) {
  const count = picture?.scan.frames ?? 1;
  byId('frames').hidden = count < 2;
  if (count < 2) return;
  const drawn = new Set(picture.objects.map(({ frame }) => frame));
  byId('strip').replaceChildren(...Array.from({ length: count }, (_, i) => make('button', {
    title: `Frame ${i}`, role: 'option', tabIndex: i === picture.frame ? 0 : -1, aria: { selected: i === picture.frame, label: `Frame ${i}` },
    on: { click: () => act.toFrame(i) },
  }, ...(drawn.has(i) ? [make('i')] : []))));
  byId('strip').querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  byId('frame').textContent = `frame ${picture.frame} (0–${count - 1})`;
}

function showCandidates(picture, act) {
  const object = picture?.activeObject;
  const place = byId('candidates');
  place.hidden = !object || object.candidates.length < 2 || object.accepted;
  if (place.hidden) return;
  place.replaceChildren('Which? ', ...object.candidates.map(({ mask, iou }, i) => make('button', {
    textContent: `${['small', 'middle', 'large'][i]} · ${areaText(areaOf(mask, picture.scan.spacing))}`,
    title: `Predicted IoU ${iou.toFixed(2)} (Tab: next)`, aria: { pressed: i === object.choice },
    on: { click: () => act.choose(i) },
  })));
}

function showNotes(picture) {
  const notes = picture?.scan.notes ?? [];
  byId('notes-section').hidden = !notes.length;
  byId('notes').replaceChildren(...notes.map((note) => make('li', { textContent: note })));
}

function showButtons(pictures, picture) {
  byId('empty').hidden = byId('pictures-empty').hidden = byId('history-empty').hidden = Boolean(picture);
  byId('undo').disabled = !picture || picture.at === 0;
  byId('redo').disabled = !picture || picture.at === picture.steps.length - 1;
  byId('accept').disabled = !picture?.activeObject || picture.activeObject.accepted;
  byId('new').disabled = !picture;
  const any = pictures.some(({ objects }) => objects.length);
  for (const id of ['save-masks', 'save-overlay']) byId(id).disabled = !picture?.objects.length;
  for (const id of ['save-coco', 'save-areas']) byId(id).disabled = !any;
  const open = pictures.filter((each) => each.step !== each.saved && each.objects.length).length;
  if (open) byId('saved').textContent = `${open} picture${open > 1 ? 's' : ''} not saved`;
}
