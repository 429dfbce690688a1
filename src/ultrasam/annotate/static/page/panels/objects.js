// The objects of the frame, the prompts of the active one, and the history.

import { byId, icon, make, whenIdle } from '/shared/page/elements.js';
import { mainOf, textOf } from '../measures.js';

const rows = new Map(); // by id: what a row shows, and its element; only rows that differ are made anew
const steps = new Map(); // of the history, in the same way, by number
const CLOCK = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });

/** Show the panel; `act` holds what its buttons do. */
export function showObjects(session, act) {
  const { image } = session;
  const all = image ? [...session.objects.values(), ...session.drafts.values()].sort((a, b) => (a.order ?? Infinity) - (b.order ?? Infinity)) : [];
  byId('objects-empty').hidden = all.length > 0;
  byId('objects-count').textContent = all.length || '';
  const list = byId('objects');
  const kept = new Set();
  all.forEach((object, place) => {
    const shows = JSON.stringify([object.label, object.color, object.number, object.local, object.mask && { ...object.mask, mask: 0 },
      object.id === session.active, session.hidden.has(object.id), Boolean(object.crop), Object.keys(object.frames ?? {}).length, image.frames]);
    let row = rows.get(object.id);
    if (row?.shows !== shows) {
      const element = objectRow(object, session, act);
      const typed = row && row.element.contains(document.activeElement) && document.activeElement.matches('input');
      if (typed) return kept.add(object.id); // a label is being typed
      row?.element.replaceWith(element);
      row = { shows, element };
      rows.set(object.id, row);
    }
    if (list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] ?? null);
    return kept.add(object.id);
  });
  for (const [id, { element }] of rows) {
    if (kept.has(id)) continue;
    element.remove();
    rows.delete(id);
  }
  showPrompts(session);
  showHistory(session, act);
}

function objectRow(object, session, act) {
  const { id, color, number, mask, local } = object;
  const active = id === session.active;
  const name = object.label ?? `object ${number}`;
  const swatch = make('span', { className: 'swatch' });
  swatch.style.background = color;
  const label = make('input', {
    value: object.label ?? '', placeholder: `object ${number}`, title: 'Label: type, or press its digit', maxLength: 80, autocomplete: 'off',
    aria: { label: `Label of ${name}` },
    on: {
      change: ({ target }) => act.relabel(object, target.value.trim() || null),
      keydown: ({ key, target }) => ['Enter', 'Escape'].includes(key) && target.blur(),
      focus: () => act.activate(object),
    },
  });
  label.setAttribute('list', 'label-names');
  const select = make('button', {
    className: 'select', title: `Select ${name}`, aria: { label: `Select ${name}, ${originOf(object)}`, pressed: active }, on: { click: () => act.activate(object) },
  }, swatch, mark(object));
  const shown = !session.hidden.has(id);
  const eye = make('button', {
    title: shown ? 'Hide' : 'Show', aria: { label: `Show ${name}`, pressed: shown }, on: { click: () => act.toggle(object) },
  }, icon(shown ? 'shown' : 'hidden'));
  const away = make('button', {
    title: 'Remove the object (Delete)', aria: { label: `Remove ${name}` }, on: { click: () => act.removeObject(object) },
  }, icon('remove'));
  const element = make('li', { className: active ? 'active' : '' }, select, label, eye, away, make('div', { className: 'facts' },
    make('span', { textContent: local ? 'not saved yet' : originOf(object), title: madeBy(mask) }), ...measureOf(object)));
  element.dataset.object = id;
  return element;
}

function mark({ mask, crop, local }) {
  if (local) return '…';
  if (!mask || !crop) return '–';
  return mask.state === 'accepted' ? '✓' : '○';
}

/** Who made the mask of this frame, and whether it is accepted. */
function originOf({ mask, crop, frames }) {
  if (!mask || !crop) return Object.keys(frames ?? {}).length ? 'not in this frame' : 'no mask';
  const source = {
    prompt: 'from your prompts', hand: 'by hand', propagated: 'propagated', interpolated: 'filled in', suggested: 'suggested', imported: 'imported',
  }[mask.source] ?? mask.source;
  if (['prompt', 'hand'].includes(mask.source) && mask.state === 'accepted') return source;
  return `${source}, ${mask.state === 'accepted' ? 'accepted' : 'not accepted'}`;
}

function madeBy(mask) {
  const sure = Number.isFinite(mask?.confidence) ? `sure of itself by ${mask.confidence.toFixed(2)}` : '';
  return [mask?.model, sure].filter(Boolean).join(', ');
}

function measureOf(object) {
  const main = mainOf(object);
  if (!main || !object.crop) return [];
  const { why, perimeter, long_axis: long, short_axis: short } = object.mask.measure;
  const more = [['Perimeter', perimeter], ['Long axis', long], ['Short axis', short]].filter(([, value]) => value).map(([name, value]) => `${name} ${textOf(value)}`);
  const title = [why, ...more].filter(Boolean).join('\n');
  return [make(why ? 'i' : 'b', { className: 'area', textContent: textOf(main), title })];
}

function showPrompts(session) {
  const object = session.activeObject;
  const prompts = object?.mask?.prompts ?? [];
  const points = prompts.flatMap((prompt) => prompt.points ?? []);
  const boxes = prompts.map((prompt) => prompt.box).filter(Boolean);
  const lines = [
    ...points.map(([x, y, label]) => `${label ? '+ adds' : '− removes'} at ${Math.round(x)}, ${Math.round(y)}`),
    ...boxes.map((box) => `▭ box ${box.map(Math.round).join(', ')}`),
  ];
  const signature = lines.join();
  const place = byId('prompts');
  if (place.dataset.shows === signature) return;
  place.dataset.shows = signature;
  place.replaceChildren(...(lines.length ? lines : ['None.']).map((text) => make('li', { textContent: text })));
}

function showHistory(session, act) {
  const history = session.image?.history;
  const entries = history?.entries ?? [];
  byId('history-empty').hidden = entries.length > 0;
  const list = byId('history');
  const now = entries.findLastIndex(({ undone }) => !undone);
  const kept = new Set();
  entries.forEach(({ n, name, undone, time }, place) => {
    const shows = JSON.stringify([name, undone, place === now]);
    let step = steps.get(n);
    if (step?.shows !== shows) {
      step?.element.remove();
      step = { shows, element: stepRow({ n, name, undone, time, isNow: place === now }, session, act) };
      steps.set(n, step);
      if (place === now) whenIdle(() => step.element.scrollIntoView({ block: 'nearest' }));
    }
    if (list.children[place] !== step.element) list.insertBefore(step.element, list.children[place] ?? null);
    kept.add(n);
  });
  for (const [n, { element }] of steps) {
    if (kept.has(n)) continue;
    element.remove();
    steps.delete(n);
  }
}

function stepRow({ n, name, undone, time, isNow }, session, act) {
  const go = () => {
    const { entries } = session.image.history;
    act.goTo(entries.findIndex((entry) => entry.n === n), entries.findLastIndex((entry) => !entry.undone));
  };
  return make('li', {}, make('button', {
    textContent: name, title: `${undone ? 'Redo up to here' : 'Undo back to here'} (${CLOCK.format(new Date(time))})`,
    className: undone ? 'undone' : '', aria: { current: isNow }, on: { click: go },
  }));
}
