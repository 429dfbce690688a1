// Keeps the site for use without a network, and adds the headers that threads and the page's rules need.
//
// `files.js` names the version and the files of this export; another version is another cache.

importScripts('files.js');

const CACHE = `ultrasam-${self.SITE.version}`;
const HEADERS = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Content-Security-Policy': self.SITE.policy,
};

self.addEventListener('install', (event) => {
  event.waitUntil(self.skipWaiting());
});

self.addEventListener('activate', (event) => {
  const clean = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith('ultrasam-') && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener('message', (event) => {
  if (event.data === 'keep') event.waitUntil(keepAll(event.source));
});

/** Put what is missing into the cache, but for what few need, and tell the page when all is there. */
async function keepAll(page) {
  const cache = await caches.open(CACHE);
  for (const name of self.SITE.files.filter((file) => !self.SITE.later.includes(file))) {
    if (!(await cache.match(name))) await answer(new Request(name));
  }
  page.postMessage('kept');
}

self.addEventListener('fetch', (event) => {
  const { origin, pathname } = new URL(event.request.url);
  const scope = new URL(self.registration.scope);
  if (event.request.method !== 'GET' || origin !== scope.origin || !pathname.startsWith(scope.pathname)) return;
  event.respondWith(answer(event.request));
});

async function answer(request) {
  const scope = self.registration.scope;
  const path = new URL(request.url).href.slice(scope.length).split(/[?#]/)[0] || 'index.html';
  const cache = await caches.open(CACHE);
  const kept = await cache.match(path);
  if (kept) return kept;
  const response = await fetch(request.mode === 'navigate' ? path : request, { cache: 'no-cache' });
  if (!response.ok) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  const changed = new Response(response.body, { status: response.status, headers });
  if (self.SITE.files.includes(path)) await cache.put(path, changed.clone());
  return changed;
}
