// The page: opens pictures, asks the model, and holds what the person does.

import { readFile } from '../reading/read.js';
import { maskArea } from '../saving/areas.js';
import { Canvas } from './canvas.js';
import { byId } from './elements.js';
import { checkedModel, hasGraphicsCard } from './graphics_card.js';
import { listenToWindow, tableOf } from './gray_window.js';
import { listenToKeys } from './keys.js';
import { Model } from './model.js';
import { keepOffline, startOffline } from './offline.js';
import { canvasOf } from './painting.js';
import { showPanels } from './panels.js';
import { Picture, promptOf } from './pictures.js';
import { showPrivacy } from './privacy.js';
import { areasFile, cocoFile, download, maskFiles, overlayFiles } from './saving.js';

const SAMPLE = 'sample.png';
// What the graphics card must segment as the processor does: a click, a box, and both clicks of a correction.
const TEST_PROMPTS = [
  { points: [{ x: 363, y: 230, label: 1 }], box: null, mask: null },
  { points: [], box: [567, 53, 840, 407], mask: null },
  { points: [{ x: 120, y: 60, label: 1 }, { x: 363, y: 230, label: 0 }], box: null, mask: null },
];
const pictures = [];
let picture = null;
let about = { name: '', version: '', accepts: [] };
let model = null;
let processor = null; // the model on the processor, beside which one on the graphics card may run
let ready = null; // resolves when the picture that is shown is encoded
let kept = false;
let latency = '';
let busy = Promise.resolve(); // changes of objects follow one another
let hovered = 0;

const canvas = new Canvas(byId('canvas'), {
  click: (point) => change(() => addClick(point)),
  box: (box) => change(() => addBox(box)),
  hover: preview,
  zoomed: (scale) => { byId('zoom').textContent = `${Math.round(scale * 100)} %`; },
});

const act = {
  openPicture(other) {
    if (other !== picture) show(other);
  },
  toFrame(frame) {
    if (!picture || frame < 0 || frame >= picture.scan.frames || frame === picture.frame) return;
    picture.frame = frame;
    picture.active = picture.shown.at(-1)?.id ?? null;
    show(picture);
  },
  step: (by) => picture && act.toFrame(picture.frame + by),
  nextPicture(by) {
    const next = pictures[pictures.indexOf(picture) + by];
    if (next) show(next);
  },
  activate: (object) => set(() => { picture.active = object.id; }),
  relabel: (object, text) => set(() => {
    const label = text.trim();
    if (label && label !== object.label) picture.put({ ...object, label }, `Labeled ${label}`);
  }),
  toggle: (object) => set(() => picture.put({ ...object, visible: !object.visible }, object.visible ? 'Hid an object' : 'Showed an object')),
  remove: (object) => set(() => picture.remove(object.id)),
  removeActive: () => picture?.activeObject && act.remove(picture.activeObject),
  newObject: () => picture && set(() => { picture.active = null; }),
  accept() {
    const object = picture?.activeObject;
    if (object && !object.accepted) {
      set(() => {
        picture.put({ ...object, accepted: true }, `Accepted ${object.label}`);
        picture.active = null;
      });
    }
  },
  choose(choice) {
    const object = picture?.activeObject;
    if (object) set(() => picture.put({ ...object, choice }, `Chose the ${['small', 'middle', 'large'][choice]} mask`));
  },
  nextCandidate(by) {
    const object = picture?.activeObject;
    if (!object || object.accepted || object.candidates.length < 2) return false;
    act.choose((object.choice + by + object.candidates.length) % object.candidates.length);
    return true;
  },
  go: (number) => picture && change(() => picture.go(number)),
  undo: () => picture && act.go(picture.at - 1),
  redo: () => picture && act.go(picture.at + 1),
  fit: () => canvas.fit(),
  hide: (hidden) => { canvas.hidden = hidden; canvas.draw(); },
  pan: (panning) => { canvas.panning = panning; byId('canvas').style.cursor = panning ? 'grab' : ''; },
  fold: () => { byId('queue').hidden = !byId('queue').hidden; },
  help: () => byId('keys').showModal(),
  pointer: () => canvas.keyboard.toggle(),
  escape: () => { say(''); act.newObject(); },
  choosePictures: () => byId('files').click(),
  saveCoco: () => save(() => [cocoFile(pictures.flatMap((each) => each.results()), about)], pictures),
};

function set(action) {
  return change(action);
}

/** Do something that changes objects, after what is under way; an error is shown. */
function change(action) {
  busy = busy.then(async () => {
    try {
      say('');
      hovered++;
      canvas.preview = null;
      await action();
    } catch (error) {
      say(error.message);
    }
    refresh();
  });
  return busy;
}

function refresh() {
  showPanels(pictures, picture, act);
  canvas.draw();
}

function say(message) {
  byId('message').hidden = !message;
  byId('message-text').textContent = message;
}

function status(text) {
  byId('state').textContent = text;
}

function idle() {
  status(`${about.name}${latency ? ` · ${latency}` : ''}`);
}

async function addClick(point) {
  const object = picture.activeObject;
  const open = object && !object.accepted ? object : null;
  if (!open && !point.label) throw new Error('There is nothing to remove from; click on a structure first.');
  const base = open ?? picture.draft(`object ${picture.made + 1}`);
  const name = open ? `${point.label ? 'Added to' : 'Removed from'} ${base.label}` : `Clicked ${base.label}`;
  await segment({ ...base, points: [...base.points, { x: point.x, y: point.y, label: point.label }] }, name);
}

async function addBox(box) {
  const object = picture.activeObject;
  // A box is a new object, unless it is drawn around the clicks of the active one.
  const around = ({ x, y }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
  const joins = object && !object.accepted && !object.box && object.points.every(({ x, y, label }) => !label || around({ x, y }));
  const open = joins ? object : null;
  const base = open ?? picture.draft(`object ${picture.made + 1}`);
  await segment({ ...base, box }, `Box for ${base.label}`);
}

/** Ask the model for an object's masks, and put it into the picture. */
async function segment(object, name) {
  await ready;
  status('Segmenting …');
  const prompt = promptOf(object, about.accepts);
  const single = prompt.points.length === 1 && !prompt.box && !prompt.mask;
  const start = performance.now();
  const { answer } = await model.ask('predict', { key: picture.key, prompt, candidates: single });
  latency = `click to mask ${Math.round(performance.now() - start)} ms`;
  const candidates = answer.filter(({ mask }) => mask.includes(1));
  if (!candidates.length) {
    idle();
    throw new Error('The model finds nothing there; click in the middle of a structure, or drag a box around it.');
  }
  const [best] = candidates; // by predicted IoU
  candidates.sort((a, b) => maskArea(a.mask) - maskArea(b.mask));
  picture.put({ ...object, candidates, choice: candidates.indexOf(best) }, name);
  idle();
}

/** Show what a click here would do. */
async function preview(point) {
  const number = ++hovered;
  if (!point || !picture || !ready) {
    canvas.preview = null;
    canvas.draw();
    return;
  }
  const object = picture.activeObject;
  const open = object && !object.accepted ? object : null;
  if (!open && !point.label) return;
  const base = open ?? picture.draft('');
  const next = { ...base, points: [...base.points, point] };
  try {
    await ready;
    const { key } = picture;
    const found = await model.askPreview({ key, prompt: promptOf(next, about.accepts), candidates: null });
    if (!found || number !== hovered || key !== picture.key) return;
    canvas.preview = { ...next, mask: found.answer[0].mask };
    canvas.draw();
  } catch {
    // A preview that fails is no loss: the click will say why.
  }
}

/** Show a frame and have it encoded. */
function show(next) {
  picture = next;
  hovered++;
  const { key, scan, frame } = picture;
  ready = (async () => {
    const image = await scan.frame(frame);
    if (picture.key !== key) return; // another has been opened meanwhile
    canvas.show(picture, image);
    picture.thumbnail ??= thumbnail(image);
    refresh();
    status('Reading the picture …');
    await loading;
    if (picture.key !== key) return;
    const { milliseconds } = await model.ask('setImage', { key, image, allViews: byId('views').checked });
    latency = `picture read in ${Math.round(milliseconds)} ms`;
    idle();
  })();
  ready.catch((error) => say(error.message));
  refresh();
}

function thumbnail(image) {
  const small = document.createElement('canvas');
  const scale = Math.min(1, 144 / image.width, 80 / image.height);
  small.width = Math.max(1, Math.round(image.width * scale));
  small.height = Math.max(1, Math.round(image.height * scale));
  small.getContext('2d').drawImage(canvasOf(image), 0, 0, small.width, small.height);
  return small;
}

async function openFiles(files) {
  say('');
  const problems = [];
  for (const file of files) {
    try {
      pictures.push(new Picture(await readFile(file)));
      show(pictures.at(-1));
    } catch (error) {
      problems.push(error.message);
    }
  }
  if (problems.length) say(problems.join(' '));
  refresh();
}

async function sampleFile() {
  return new File([await (await fetch(SAMPLE)).blob()], SAMPLE);
}

async function openSample() {
  await openFiles([await sampleFile()]);
}

/** Compute on the graphics card, if it gives the processor's masks of the sample, or on the processor again. */
async function useGraphicsCard(wanted) {
  say('');
  byId('card').disabled = true;
  try {
    if (!wanted) {
      model.stop();
      model = processor;
      return;
    }
    status('Comparing the graphics card with the processor …');
    const image = await (await readFile(await sampleFile())).frame(0);
    await ready;
    const { model: checked, times } = await checkedModel(processor, { threads, key: SAMPLE, image, prompts: TEST_PROMPTS });
    model = checked;
    const [card, other] = [times.card, times.processor].map(Math.round);
    byId('card-text').textContent = 
      `Same masks on the sample. A click took ${card} ms, on the processor ${other} ms${card > other ? ', which is faster here' : ''}.`;
  } catch (error) {
    byId('card').checked = false;
    say(error.message);
  } finally {
    byId('card').disabled = false;
    byId('card-text').hidden = !byId('card').checked;
    idle();
    if (picture) show(picture);
  }
}

async function save(files, which) {
  try {
    say('');
    download(await files());
    for (const each of which) each.saved = each.step;
    byId('saved').textContent = `saved ${new Date().toLocaleTimeString([], { hour12: false })}`;
  } catch (error) {
    say(`Nothing was saved: ${error.message}`);
  }
  refresh();
}

function listen() {
  const click = (id, action) => byId(id).addEventListener('click', action);
  const actions = {
    open: act.choosePictures, open2: act.choosePictures, sample: openSample, sample2: openSample, undo: act.undo,
    redo: act.redo, accept: act.accept, fit: act.fit, fold: act.fold, help: act.help, new: act.newObject,
    'window-open': () => act.window(), 'message-close': () => say(''), previous: () => act.step(-1), next: () => act.step(1), 'save-coco': act.saveCoco,
    'save-masks': () => save(() => maskFiles(picture.results()), [picture]),
    'save-overlay': () => save(() => overlayFiles(picture.results(), picture.scan), [picture]),
    'save-areas': () => save(() => [areasFile(pictures.flatMap((each) => each.results()))], pictures),
  };
  for (const [id, action] of Object.entries(actions)) click(id, () => action());
  byId('files').addEventListener('change', ({ target }) => {
    openFiles([...target.files]);
    target.value = '';
  });
  act.window = listenToWindow((settings) => canvas.showLevels(tableOf(settings))).toggle;
  byId('views').addEventListener('change', () => picture && show(picture));
  byId('card').addEventListener('change', ({ target }) => change(() => useGraphicsCard(target.checked)));
  const over = (event, on) => {
    event.preventDefault();
    document.body.classList.toggle('dropping', on);
  };
  document.addEventListener('dragover', (event) => over(event, true));
  document.addEventListener('dragleave', (event) => over(event, false));
  document.addEventListener('drop', (event) => {
    over(event, false);
    openFiles([...event.dataTransfer.files]);
  });
  window.addEventListener('beforeunload', (event) => {
    if (pictures.some((each) => each.step !== each.saved && each.objects.length)) event.preventDefault();
  });
  // After a click on a button, keys mean the picture again.
  document.addEventListener('click', ({ detail, target }) => {
    if (detail && target.closest('button:not(#window-open)') && !byId('keys').open) byId('canvas').focus();
  });
  listenToKeys(act);
}

listen();
refresh();
const threads = Model.threads();
const loading = startOffline().then(async () => {
  processor = model = new Model({ loaded: (share) => status(`Loading the model: ${Math.floor(share * 100)} %`) });
  const [answer, version] = await Promise.all([
    model.load(threads),
    fetch('version.json').then((response) => response.json()),
  ]);
  about = { name: answer.name, model: answer.name, version: version.ultrasam, accepts: answer.accepts };
  byId('views').parentElement.hidden = !answer.tta.zoom && !answer.tta.flip;
  byId('card').parentElement.hidden = !(await hasGraphicsCard());
  idle();
  const showRules = showPrivacy({ threads, offline: () => kept });
  keepOffline().then((done) => { // not waited for: pictures are segmented meanwhile
    kept = done;
    showRules();
  });
});
loading.catch((error) => {
  status('');
  say(`The model could not be loaded. ${error.message}`);
});
// For tests, and for the curious: the state of the page.
window.ultrasam = {
  pictures, loading, canvas, get ready() { return ready; }, get busy() { return busy; },
};
