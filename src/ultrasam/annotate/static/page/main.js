// The annotator's page: puts its parts together.

import { actionsOf } from './actions.js';
import { ask, listenToEvents, post } from './api.js';
import { FrameImages } from './frame_images.js';
import { enter } from './login.js';
import { listenToData, showCurve } from './panels/data.js';
import { ImageList } from './panels/image_list.js';
import { Jobs } from './panels/jobs.js';
import { showObjects } from './panels/objects.js';
import { Planes } from './panels/planes.js';
import { Readers } from './panels/readers.js';
import { Settings } from './panels/settings.js';
import { Strip } from './panels/strip.js';
import { Player } from './playback.js';
import { StrokeQueue } from './saving.js';
import { Session } from './session.js';
import { ACTIONS, Shortcuts, shownKey } from './shortcuts.js';
import { Stage } from './stage.js';
import { showStatus, spoken } from './status.js';
import { BrushTool, brush } from './tools/brush_tool.js';
import { MoveTool } from './tools/move_tool.js';
import { PolygonTool } from './tools/polygon_tool.js';
import { PromptTool } from './tools/prompt_tool.js';
import { byId, icon } from '/shared/page/elements.js';
import { listenToWindow } from '/shared/page/gray_window.js';

const LAST = 'ultrasam.image'; // the image that this browser showed last
const LEASE = 120; // seconds
const VIEW_REST = 500; // milliseconds until a view is kept

const frames = new FrameImages();
const page = { busy: false, diameter: () => brush.diameter };

const queue = new StrokeQueue({
  changed: () => changed(),
  acknowledged: (item, answer) => {
    session.acknowledged(item, answer);
    if (answer.object?.label && !session.project.labels.some(({ name }) => name === answer.object.label)) loadLabels();
    const { image } = session;
    if (image && item.image === image.id) images.update({ id: image.id, state: image.state, flags: image.flags, objects: session.objects.size });
  },
  refused: (item, error) => session.refused(item, error),
});
const session = new Session(queue, frames, {
  changed: () => changed(),
  shown: (bitmap) => {
    stage.show(bitmap, opening);
    strip.at(session.frame);
  },
  say,
  told: (object) => { byId('told').textContent = spoken(object); },
});
const stage = new Stage(byId('canvas'), session, {
  zoomed: (scale) => { byId('zoom').textContent = `${Math.round(scale * 100)} %`; },
  viewed: keepView,
});
const tools = {
  prompt: new PromptTool(stage, session), brush: new BrushTool(stage, session, true), eraser: new BrushTool(stage, session, false),
  polygon: new PolygonTool(stage, session), move: new MoveTool(stage, session),
};
const images = new ImageList({ open: (id) => open(id), say, rank: async () => jobs.follow(await post('/rank', {})) });
const jobs = new Jobs({ say, ended: jobEnded });
const strip = new Strip(session, { to: (frame) => act.toFrame(frame) });
const player = new Player(stage, session, frames, {
  at: (frame) => strip.at(frame),
  stopped: (frame) => {
    showPlaying();
    session.toFrame(frame).catch((error) => say(error.message));
    stage.draw();
  },
});
let opening = true;
let restoring = null;

Object.assign(page, { session, stage, queue, images, jobs, player, tools, say, changed, open, keepView });
const act = actionsOf(page);
const shortcuts = new Shortcuts(act);
const settings = new Settings({ session, shortcuts, say, changed });
const readers = new Readers({ session, say, changed });
const planes = new Planes(session, stage, { to: (frame) => act.toFrame(frame), say });
Object.assign(page, { act, shortcuts, settings, planes });
page.window = listenToWindow((window) => {
  stage.showLevels(window);
  planes.draw();
  keepView();
});
session.previousImage = () => images.neighbor(-1);

/** Show anew what has changed, at the next frame of the screen. */
function changed() {
  changed.request ??= requestAnimationFrame(() => {
    changed.request = null;
    if (!session.project) return;
    showStatus(page);
    showObjects(session, act);
    readers.show();
    strip.draw();
    planes.show();
    stage.changed();
  });
}

function say(message) {
  byId('message').hidden = !message;
  byId('message-text').textContent = message;
}

async function open(id, frame = null) {
  say('');
  if (id === session.image?.id && session.coming !== 'image' && frame === null) {
    session.refresh().catch((error) => say(error.message)); // what is being drawn goes on
    return;
  }
  player.stop();
  opening = true;
  page.busy = true;
  stage.useTool(tools[stage.tool?.name ?? 'prompt']);
  images.select(id);
  try {
    await session.open(id, frame);
    if (session.image?.id !== id) return;
    localStorage[LAST] = id;
    history.replaceState(null, '', `#image=${id}`);
    restore(session.image.view);
    images.select(id);
    lease();
    showPlaying();
  } catch (error) {
    say(error.message);
    images.select(session.image?.id ?? id);
  }
  opening = page.busy = false;
  changed();
}

/** Show an image as its reader saw it last: place, tool and window. */
function restore(view) {
  restoring = true;
  if (view?.scale) stage.place = view;
  page.window.set(view?.window ?? {});
  if (view?.tool in tools) stage.useTool(tools[view.tool]);
  restoring = false;
}

function keepView() {
  if (restoring || opening) return;
  clearTimeout(keepView.timer);
  keepView.timer = setTimeout(putView, VIEW_REST);
}

function putView() {
  session.keepView({ ...(stage.fitted ? {} : stage.place), tool: stage.tool.name, window: stage.window });
}

/** Tell others that we are here, and go on telling them. */
async function lease() {
  clearInterval(lease.timer);
  const { image } = session;
  const renew = async () => {
    try {
      await post(`/images/${image.id}/lease`, { seconds: LEASE });
      image.leased = true;
    } catch (error) {
      if (error.status === 409 || error.status === 423) image.locked_by = error.body?.locked_by ?? image.locked_by ?? 'Another reader';
    }
    changed();
  };
  await renew();
  lease.timer = setInterval(() => session.image?.id === image.id && document.visibilityState === 'visible' && renew(), (LEASE / 2) * 1000);
}

function jobEnded(job) {
  if (job.state === 'failed' || (job.state === 'cancelled' && job.sentence)) say(job.sentence);
  if (job.kind === 'train') showCurve(job);
  if (!session.image || (job.image !== null && job.image !== session.image.id)) return;
  session.refresh().catch((error) => say(error.message));
  if (job.kind === 'train' || job.kind === 'import') {
    session.start().then(changed);
    images.reload().catch((error) => say(error.message));
  }
}

/** A stroke has named an object as none was named before. */
async function loadLabels() {
  session.project.labels = (await ask('/project')).labels;
  await settings.giveDigits();
}

function showPlaying() {
  if (!session.image) return;
  byId('play').replaceChildren(icon(player.playing ? 'pause' : 'play'));
  byId('play').setAttribute('aria-label', player.playing ? 'Pause' : 'Play');
  const { milliseconds, known } = player.frameTime;
  byId('rate').textContent = `${(1000 / milliseconds).toFixed(known ? 1 : 0)} frames/s${known ? '' : ', assumed'}`;
}

function listen() {
  const icons = {
    undo: 'undo', redo: 'redo', play: 'play', 'frame-back': 'previous', 'frame-forward': 'next', 'previous-image': 'previous', 'next-image': 'next',
    'propagate-back': 'backward', 'propagate-forward': 'forward',
  };
  for (const [id, name] of Object.entries(icons)) byId(id).replaceChildren(icon(name));
  const buttons = {
    fold: 'fold', undo: 'undo', redo: 'redo', accept: 'accept', fit: 'fit', help: 'help', new: 'newObject', 'previous-image': 'previousImage',
    'next-image': 'nextImage', 'window-open': 'window', done: 'done', nothing: 'nothing', flag: 'flag', 'accept-all': 'acceptAll', play: 'play',
    'frame-back': 'frameBack', 'frame-forward': 'frameForward', propagate: 'propagate', 'propagate-back': 'propagateBack',
    'propagate-forward': 'propagateForward', interpolate: 'interpolate', 'keys-close': 'help', 'planes-open': 'planes',
  };
  for (const [id, name] of Object.entries(buttons)) byId(id).addEventListener('click', () => act[name]());
  byId('message-close').addEventListener('click', () => say(''));
  byId('play').addEventListener('click', showPlaying);
  byId('note').addEventListener('change', ({ target }) => act.note(target.value));
  byId('diameter').addEventListener('input', ({ target }) => { brush.diameter = Number(target.value); });
  for (const button of document.querySelectorAll('[data-tool]')) {
    button.replaceChildren(icon(button.dataset.tool));
    button.addEventListener('click', () => act[button.dataset.tool]());
  }
  arrowsMoveThrough(byId('tools'), '[role=radio]', (button) => button.click());
  arrowsMoveThrough(byId('tabs'), '[role=tab]', showTab);
  for (const tab of document.querySelectorAll('[role=tab]')) tab.addEventListener('click', () => showTab(tab));
  // After a click on a button beside the picture, keys mean the picture again.
  document.addEventListener('click', ({ detail, target }) => {
    const button = detail && target.closest('header button, footer button, #candidates button, #panel-objects button');
    if (button && !['window-open', 'help'].includes(button.id)) byId('canvas').focus({ preventScroll: true });
  });
  window.addEventListener('pagehide', () => session.leave());
  document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' && putView());
}

/** Let arrow keys go through the tabs or choices of a group. */
function arrowsMoveThrough(group, selector, choose) {
  group.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const all = [...group.querySelectorAll(selector)];
    const next = all[(all.indexOf(document.activeElement) + by + all.length) % all.length];
    choose(next);
    next.focus();
  });
}

function showTab(tab) {
  for (const other of document.querySelectorAll('[role=tab]')) {
    other.setAttribute('aria-selected', other === tab);
    other.tabIndex = other === tab ? 0 : -1;
    byId(other.getAttribute('aria-controls')).hidden = other !== tab;
  }
}

/** Say each button's key in its title. */
export function showTitles() {
  const own = {
    fold: 'fold', accept: 'accept', fit: 'fit', help: 'help', new: 'newObject', 'previous-image': 'previousImage', 'next-image': 'nextImage',
    'window-open': 'window', done: 'done', nothing: 'nothing', flag: 'flag', 'accept-all': 'acceptAll', play: 'play', 'frame-back': 'frameBack',
    'frame-forward': 'frameForward', propagate: 'propagate', interpolate: 'interpolate', 'planes-open': 'planes',
  };
  const title = (element, name) => {
    element.title = `${ACTIONS.find((action) => action.name === name).text} (${shownKey(shortcuts.keyFor(name))})`;
  };
  for (const [id, name] of Object.entries(own)) title(byId(id), name);
  for (const button of document.querySelectorAll('[data-tool]')) title(button, button.dataset.tool);
}

async function start() {
  listen();
  stage.useTool(tools.prompt);
  session.project = await enter();
  shortcuts.changed = session.project.settings.shortcuts ?? {};
  settings.show();
  showTitles();
  queue.resume(session.project.name, session.project.reader);
  listenToData(page);
  listenToEvents({
    job: (job) => jobs.update(job),
    thumbnail: ({ image }) => images.thumbnailReady(image),
    image: ({ reader, image, ...row }) => (reader ?? session.project.reader) === session.project.reader && images.update({ id: image, ...row }),
    prepared: ({ waiting }) => {
      session.project.preparing = waiting;
      changed();
    },
    model: ({ problem }) => problem && say(problem),
  });
  // Another tab or reader may have changed what is shown.
  window.addEventListener('focus', () => queue.waiting || session.refresh().catch((error) => say(error.message)));
  jobs.load().catch((error) => say(error.message));
  await images.reload();
  changed();
  const wanted = new URLSearchParams(location.hash.slice(1)).get('image') ?? localStorage[LAST];
  const known = wanted !== undefined && wanted !== null && await ask(`/images/${wanted}`).catch(() => null);
  const first = known ? known.id : images.rows.find((row) => !row.problem)?.id;
  if (first !== undefined) await open(first);
}

const started = start();
started.catch((error) => say(`The page could not begin. ${error.message}`));
// For tests, and for the curious: the state of the page.
window.ultrasam = { session, stage, queue, player, images, jobs, planes, started, canvas: stage };
