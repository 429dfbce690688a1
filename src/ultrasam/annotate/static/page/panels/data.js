// Export, import and re-training.

import { addressOf, post, upload } from '../api.js';
import { byId, make } from '/shared/page/elements.js';

const FORMATS = [
  ['png', 'PNG masks'], ['coco', 'COCO JSON'], ['yolo', 'YOLO'], ['nifti', 'NIfTI'], ['seg', 'DICOM SEG'], ['sr', 'DICOM SR'], ['csv', 'Table of measures (CSV)'],
  ['store', 'UltraSam store'],
];

/** Make the panel work; `page` holds session, jobs and say(sentence). */
export function listenToData({ jobs, say, session }) {
  byId('formats').replaceChildren(...FORMATS.map(([value, text]) => make('label', {},
    make('input', { type: 'checkbox', name: 'format', value, checked: value === 'coco' }), text)));
  const run = (button, begin, ended) => byId(button).addEventListener('click', async () => {
    byId(button).disabled = true;
    say(''); // of an earlier try
    try {
      const job = await jobs.follow(await begin());
      ended?.(job);
    } catch (error) {
      say(error.message);
    }
    byId(button).disabled = false;
  });
  run('export', () => {
    const formats = [...document.querySelectorAll('[name=format]:checked')].map(({ value }) => value);
    if (!formats.length) throw new Error('No format is chosen; tick at least one.');
    return session.queue.settled.then(() => post('/export', { formats, which: byId('export-all').checked ? 'all' : 'accepted' }));
  }, (job) => showResult('export-result', job));
  run('import', () => {
    const path = byId('import-path').value.trim();
    if (!path) throw new Error('Say which file or folder to import: its path below the project’s folder.');
    return post('/import', { path });
  }, (job) => showResult('import-result', job));
  byId('upload').addEventListener('click', () => byId('upload-file').click());
  byId('upload-file').addEventListener('change', async ({ target }) => {
    try {
      if (target.files.length) showResult('import-result', await jobs.follow(await upload('/import/upload', target.files[0])));
    } catch (error) {
      say(error.message);
    }
    target.value = '';
  });
  run('train', () => post('/train', {}), showCurve);
  run('suggest', () => post(`/images/${session.image.id}/automatic`, { frame: session.frame }));
  byId('reuse').addEventListener('click', () => reuse(session).catch((error) => say(error.message)));
}

/** Suggest objects by the prompts of the image before. */
async function reuse(session) {
  const from = await session.previousImage();
  if (from === null) throw new Error('This is the first image in the list; its prompts cannot come from an earlier one.');
  const { objects, notes } = await post(`/images/${session.image.id}/reuse`, { from, frame: session.frame });
  await session.refresh();
  if (!objects.length) throw new Error(notes.join(' ') || 'Nothing of the image before could be used here.');
}

/** What a job says, a link to its file if it has one, and what it left out, by `id`. */
function showResult(id, { state, sentence, result }) {
  const { name, notes = [] } = result ?? {};
  byId(id).replaceChildren(make('span', { textContent: state === 'done' ? sentence : `${state}: ${sentence}` }),
    ...(name ? [' ', make('a', { href: addressOf(`/exports/${encodeURIComponent(name)}`), textContent: 'Download', download: `${name}.zip` })] : []),
    make('ul', {}, ...notes.map((textContent) => make('li', { textContent }))));
}

/** The curve of a training, by step: its held-out score if there is one, else its loss. */
export function showCurve({ sentence, result }) {
  const curve = result?.curve ?? [];
  const names = [...new Set(curve.flatMap((row) => Object.keys(row)))];
  const name = names.find((each) => each.includes('dice')) ?? names.find((each) => each.includes('loss'));
  const points = curve.filter((row) => name in row).map((row) => [row.step, row[name]]);
  const canvas = byId('curve');
  canvas.title = name ?? '';
  canvas.hidden = points.length < 2;
  byId('train-result').textContent = sentence ?? '';
  if (canvas.hidden) return;
  const context = canvas.getContext('2d');
  const { width, height } = canvas;
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  context.clearRect(0, 0, width, height);
  context.strokeStyle = getComputedStyle(canvas).color;
  context.lineWidth = 1.5;
  context.beginPath();
  points.forEach(([, value], i) => {
    const [x, y] = [4 + (i / (points.length - 1)) * (width - 8), height - 4 - ((value - low) / (high - low || 1)) * (height - 8)];
    if (i) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
  context.stroke();
  canvas.setAttribute('aria-label', `${name} from ${values[0].toPrecision(3)} to ${values.at(-1).toPrecision(3)}`);
}
