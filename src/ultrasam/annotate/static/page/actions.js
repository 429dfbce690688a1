// What a person can do, by name: the buttons' and the keys' actions.

import { post } from './api.js';
import { hasFlag } from './status.js';
import { byId } from '/shared/page/elements.js';

const ZOOM = 1.25;

/** All actions of a page of {session, stage, queue, images, player, tools, settings, jobs, open, say, changed}. */
export function actionsOf(page) {
  const { session, stage } = page;
  const guard = (action) => (...given) => {
    Promise.resolve().then(() => action(...given)).catch((error) => page.say(error.message));
  };
  const useTool = (name) => () => {
    stage.useTool(page.tools[name]);
    page.changed();
    page.keepView();
  };

  /** A suggestion or draft of this frame after the active one. */
  const suggestion = (by) => {
    const drafts = session.shown.filter(({ mask }) => mask?.state === 'draft');
    if (!drafts.length) return null;
    const at = drafts.findIndex(({ id }) => id === session.active);
    return drafts[(at + by + drafts.length) % drafts.length];
  };
  const step = (by) => {
    const { mask, crop, local } = session.target ?? {};
    if (crop && !local && mask?.candidates > 1) {
      act.choose((mask.candidate + by + mask.candidates) % mask.candidates);
      return true;
    }
    const next = suggestion(by);
    if (!next) return false;
    act.activate(next);
    return true;
  };
  const toFrame = guard((frame) => {
    page.player.stop();
    return session.toFrame(Math.min(Math.max(frame, 0), (session.image?.frames ?? 1) - 1));
  });
  const propagate = guard(async (direction) => {
    if (!session.image || session.image.frames < 2) return;
    const { activeObject } = session;
    await page.queue.settled;
    const objects = activeObject?.crop ? [session.activeObject.id] : null;
    page.jobs.follow(await post(`/images/${session.image.id}/propagate`, { objects, frame: session.frame, direction }));
  });
  /** The frames with an accepted mask around this one, of the active object. */
  const accepted = () => Object.entries(session.activeObject?.frames ?? {}).filter(([, { state }]) => state === 'accepted')
    .map(([frame]) => Number(frame)).sort((a, b) => a - b);

  const act = {
    prompt: useTool('prompt'), brush: useTool('brush'), eraser: useTool('eraser'), polygon: useTool('polygon'), move: useTool('move'),
    smaller: () => act.resizeBrush(0.8), larger: () => act.resizeBrush(1.25),
    resizeBrush(factor) {
      page.tools.brush.resize(factor);
      byId('diameter').value = page.diameter();
    },
    activate(object) {
      session.active = session.reopened = object.id;
      page.changed();
    },
    toggle(object) {
      if (!session.hidden.delete(object.id)) session.hidden.add(object.id);
      page.changed();
    },
    relabel(object, name) {
      if (name === object.label) return;
      session.stroke('label', { label: name }, { object });
    },
    label(digit) {
      const label = session.project.labels.find(({ key }) => key === digit);
      if (!label) {
        page.say(`No label has the digit ${digit}; give it one under Settings.`);
        return;
      }
      if (session.target) session.stroke('label', { label: label.name });
      else session.label = session.label === label.name ? null : label.name; // of the next object
      page.changed();
    },
    newObject() {
      session.active = session.reopened = null;
      page.changed();
    },
    accept() {
      if (stage.tool.close?.()) return;
      const object = session.activeObject;
      if (!object?.crop) return;
      if (object.mask?.state !== 'accepted') session.stroke('accept', { frames: 'this' }, { object });
      session.reopened = null;
      const next = suggestion(1);
      if (next && next.id !== object.id && object.mask?.state === 'draft') act.activate(next);
      page.changed();
    },
    acceptAll() {
      for (const object of session.shown) if (object.mask?.state === 'draft') session.stroke('accept', { frames: 'this' }, { object });
      session.reopened = null;
    },
    choose: (index) => session.stroke('candidate', { index }),
    next: () => step(1),
    previous: () => step(-1),
    removeObject: (object) => session.stroke('delete', {}, { object, crop: null }),
    remove: () => session.activeObject && act.removeObject(session.activeObject),
    clear: () => session.activeObject?.crop && session.stroke('clear', {}, { object: session.activeObject, crop: null }),
    undo: () => session.undo('undo'), redo: () => session.undo('redo'),
    undoObject: () => session.activeObject && session.undo('undo', session.activeObject),
    redoObject: () => session.activeObject && session.undo('redo', session.activeObject),
    goTo(at, now) {
      // Undo and redo by as many steps as lie between.
      for (let i = now; i > at; i--) session.undo('undo');
      for (let i = now; i < at; i++) session.undo('redo');
    },
    toFrame,
    frameBack: () => toFrame(session.wanted - 1), frameForward: () => toFrame(session.wanted + 1),
    keyBack: () => act.byKeyFrames(-1), keyForward: () => act.byKeyFrames(1),
    byKeyFrames(by) {
      const stride = session.project.settings.key_stride ?? 5;
      toFrame((by > 0 ? Math.floor(session.wanted / stride) + 1 : Math.ceil(session.wanted / stride) - 1) * stride);
    },
    firstFrame: () => toFrame(0), lastFrame: () => toFrame(Infinity),
    play: () => (page.player.playing ? page.player.stop() : page.player.start()),
    propagate: () => propagate('both'), propagateBack: () => propagate('backward'), propagateForward: () => propagate('forward'),
    interpolate: guard(async () => {
      const frames = accepted();
      const { activeObject: object, frame } = session;
      const [from, to] = [frames.findLast((each) => each <= frame), frames.find((each) => each > frame)];
      const [first, last] = from === undefined || to === undefined ? [frames.at(-2), frames.at(-1)] : [from, to];
      if (!object || first === undefined) throw new Error('Filling needs an object with two accepted frames; accept the masks of two frames first.');
      await page.queue.settled;
      await post(`/images/${session.image.id}/interpolate`, { object: object.id, from: first, to: last });
      await session.refresh();
    }),
    nextImage: guard(() => act.byImages(1)), previousImage: guard(() => act.byImages(-1)),
    async byImages(by) {
      const id = await page.images.neighbor(by);
      if (id !== null) await page.open(id);
    },
    done: guard(async () => {
      if (!session.image) return;
      if (session.image.state !== 'done') session.stroke('state', { state: 'done' }, { object: null });
      await act.byImages(1);
    }),
    nothing: () => session.image && session.stroke('empty', { value: !hasFlag(session.image, 'empty') }, { object: null }),
    flag: () => session.image && session.stroke('flag', { value: !hasFlag(session.image, 'flagged') }, { object: null }),
    note: (text) => text !== (session.image.note ?? '') && session.stroke('note', { text }, { object: null }),
    fit: () => stage.fit(), zoomIn: () => stage.zoom(ZOOM), zoomOut: () => stage.zoom(1 / ZOOM),
    window: () => page.window.toggle(), planes: () => page.planes.possible && page.planes.toggle(),
    names() {
      stage.names = !stage.names;
      stage.draw();
    },
    pointer: () => stage.keyboard.toggle(),
    fold() {
      byId('queue').hidden = !byId('queue').hidden;
      byId('fold').setAttribute('aria-expanded', !byId('queue').hidden);
    },
    hide(hidden) {
      stage.hidden = hidden;
      stage.draw();
      page.planes.draw();
    },
    pan(panning) {
      stage.gestures.panning = panning;
      byId('canvas').style.cursor = panning ? 'grab' : stage.tool?.cursor ?? '';
    },
    help() {
      byId('keys').hidden = !byId('keys').hidden;
      (byId('keys').hidden ? byId('canvas') : byId('keys-close')).focus();
    },
    escape() {
      if (!byId('keys').hidden) act.help();
      else if (!byId('message').hidden) page.say('');
      else if (!stage.tool.escape?.()) act.newObject();
    },
  };
  return act;
}
