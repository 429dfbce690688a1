// Who reads, and with what right: the token of the address is exchanged for a cookie, and forgotten.

import { Refusal, ask, post } from './api.js';
import { byId } from '/shared/page/elements.js';

const NAME = 'ultrasam.reader'; // the name that this browser's reader used last

/** The project, once the server lets us in and knows who reads. */
export async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) {
    history.replaceState(null, '', location.pathname + location.search); // it must not stay in the address
    byId('login-token').value = token;
  }
  const known = localStorage[NAME];
  if (token && known) {
    const project = await begin(known, token).catch(() => null);
    if (project) return project;
  }
  try {
    const project = await ask('/project');
    if (project.reader) return project;
    return await asked('Masks are kept by reader, so that two readers never change each other’s.', { token: false });
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 401) throw error;
    return asked(error.message, { token: true });
  }
}

async function begin(reader, token) {
  await post('/session', token ? { reader, token } : { reader });
  localStorage[NAME] = reader;
  return ask('/project');
}

/** Show the form until the server accepts what is typed. */
function asked(text, { token }) {
  const form = byId('login');
  byId('login-text').textContent = text;
  byId('login-reader').value = localStorage[NAME] ?? '';
  for (const id of ['login-token', 'login-token-label']) byId(id).hidden = !token;
  form.hidden = false;
  byId(byId('login-reader').value && token ? 'login-token' : 'login-reader').focus();
  return new Promise((resolve) => {
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      try {
        const project = await begin(byId('login-reader').value.trim(), byId('login-token').value.trim());
        form.hidden = true;
        resolve(project);
      } catch (error) {
        byId('login-text').textContent = error.message;
      }
    });
  });
}
