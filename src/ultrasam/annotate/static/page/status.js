// The header, the hint of what a click will do, and what lies on the picture beside the masks.

import { byId, make } from '/shared/page/elements.js';
import { mainOf, textOf } from './measures.js';
import { shownKey } from './shortcuts.js';

const SIZES = ['small', 'middle', 'large'];

/** Show the state of the page; `page` holds session, queue, stage, shortcuts, images and act. */
export function showStatus(page) {
  const { session } = page;
  const { image, project } = session;
  showSaved(page);
  byId('empty').hidden = Boolean(image);
  byId('model').title = project?.model?.name ?? '';
  byId('model').textContent = [project?.model?.name.split(' ')[0], page.busy ? 'reading the picture …' : latencyOf(session)].filter(Boolean).join(' · ');
  const history = image?.history;
  for (const action of ['undo', 'redo']) {
    const name = history?.[action];
    byId(action).disabled = !name;
    byId(action).title = `${action === 'undo' ? 'Undo' : 'Redo'}${name ? `: ${name}` : ''} (${shownKey(page.shortcuts.keyFor(action))})`;
    byId(action).setAttribute('aria-label', `${action === 'undo' ? 'Undo' : 'Redo'}${name ? `: ${name}` : ''}`);
  }
  const active = session.activeObject;
  byId('accept').disabled = !active?.crop || (active.mask?.state === 'accepted' && !session.target);
  byId('accept-all').disabled = !session.shown.some(({ mask }) => mask?.state === 'draft');
  for (const id of ['new', 'done', 'nothing', 'flag', 'suggest', 'reuse']) byId(id).disabled = !image;
  showImage(image);
  showProgress(project);
  showCandidates(session, page.act);
  byId('hint').textContent = image ? hintOf(page) : '';
  for (const button of document.querySelectorAll('[data-tool]')) {
    const on = button.dataset.tool === page.stage.tool?.name;
    button.setAttribute('aria-checked', on);
    button.tabIndex = on ? 0 : -1;
  }
  byId('brush-size').hidden = !['brush', 'eraser'].includes(page.stage.tool?.name);
  byId('frames').hidden = (image?.frames ?? 1) < 2;
}

function latencyOf({ latency, encoded, project }) {
  if (latency !== null) return `click to mask ${Math.round(latency)} ms`;
  if (encoded?.ms) return `picture read in ${Math.round(encoded.ms)} ms`;
  return project?.model?.latency_ms ? `${Math.round(project.model.latency_ms)} ms` : '';
}

function showSaved({ queue, session }) {
  const { waiting, problem, savedAt } = queue;
  const element = byId('saved');
  const state = problem ? 'problem' : waiting ? 'waiting' : savedAt && session.verified !== false ? 'checked' : '';
  element.className = state;
  const saved = savedAt ? `saved ${savedAt.toLocaleTimeString([], { hour12: false })}` : 'all saved';
  byId('saved-text').textContent = waiting && (problem || waiting > 1) ? `${waiting} not saved yet` : waiting ? 'saving …' : saved;
  const check = { true: 'The mask on the screen is the one that is stored.', false: 'The mask on the screen is not the one that is stored.' }[session.verified];
  element.title = problem ? `${problem} What you draw is kept here and sent again.` : check ?? 'Every stroke is on the disk before this says so.';
}

function showImage(image) {
  byId('image-name').textContent = image ? [image.name, image.width ? `${image.width} × ${image.height}` : '', spacingOf(image)].filter(Boolean).join(' · ') : '';
  byId('done').setAttribute('aria-pressed', image?.state === 'done');
  byId('nothing').setAttribute('aria-pressed', hasFlag(image, 'empty'));
  byId('flag').setAttribute('aria-pressed', hasFlag(image, 'flagged'));
  const note = byId('note');
  if (document.activeElement !== note) note.value = image?.note ?? '';
  note.disabled = !image;
  const notes = image?.notes ?? [];
  byId('notes').replaceChildren(...notes.map((textContent) => make('li', { textContent })));
  byId('locked').hidden = !image?.locked_by;
  if (image?.locked_by) byId('locked').textContent = `${image.locked_by} has this image open: look at it, or take another one.`;
  document.title = image ? `${image.name} – UltraSam` : 'UltraSam annotate';
}

function spacingOf({ spacing, spacing_why: why }) {
  return spacing ? `${spacing[0].toPrecision(3)} mm/px` : `in pixels: ${why ?? 'not calibrated'}`;
}

export function hasFlag(image, name) {
  return image?.flags?.includes(name) ?? false;
}

function showProgress(project) {
  const counts = project?.counts ?? {};
  const total = project?.images ?? 0;
  byId('progress').max = total || 1;
  byId('progress').value = counts.done ?? 0;
  const preparing = project?.preparing ? ` · preparing ${project.preparing} more` : '';
  byId('progress-text').textContent = total ? `${counts.done ?? 0} of ${total} done${preparing}` : '';
}

function showCandidates(session, act) {
  const object = session.activeObject;
  const place = byId('candidates');
  const { candidates = 0, candidate } = object?.mask ?? {};
  place.hidden = !object?.crop || candidates < 2 || !session.target || object.local;
  if (place.hidden) {
    delete place.dataset.shows;
    return;
  }
  const shows = [object.id, candidate, candidates].join();
  if (place.dataset.shows === shows) return;
  place.dataset.shows = shows;
  place.replaceChildren('Which? ', ...Array.from({ length: candidates }, (_, i) => make('button', {
    textContent: candidates === 3 ? SIZES[i] : String(i + 1), title: 'Tab: next', aria: { pressed: i === candidate }, on: { click: () => act.choose(i) },
  })));
}

/** What a click will do, in words. */
function hintOf({ session, stage }) {
  const { target, activeObject } = session;
  const name = target && (target.label ?? `object ${target.number}`);
  const fresh = session.label ?? 'object';
  switch (stage.tool?.name) {
    case 'prompt':
      return target ? `Click adds to ${name}; right click removes; N begins another` : `Click or drag a box: a new ${fresh}`;
    case 'brush': case 'eraser': {
      const verb = stage.tool.name === 'brush' ? 'Paints' : 'Erases';
      return target ? `${verb} ${stage.tool.name === 'brush' ? 'on' : 'from'} ${name}; [ and ] change the size` : `Paints a new ${fresh}; [ and ] change the size`;
    }
    case 'polygon':
      if (target?.crop && !stage.tool.corners.length) return `Drag a corner or an edge of ${name}; right click removes a corner`;
      return `Click corners of a new ${fresh}; Enter closes, Escape drops`;
    default:
      return activeObject ? 'Click selects, drag moves the picture' : 'Click on an object selects it';
  }
}

/** What a screen reader is told after a change. */
export function spoken(object) {
  const main = mainOf(object);
  return `${object.label ?? `object ${object.number}`}: ${main ? `area ${textOf(main)}, ` : ''}saved`;
}
