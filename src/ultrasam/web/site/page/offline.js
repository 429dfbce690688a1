// The service worker: the site without a network, and the headers that allow threads.

const RELOADED = 'ultrasam-reloaded';

/** Start it; reloads the page once, before anything is opened, so that threads are allowed. */
export async function startOffline() {
  if (!('serviceWorker' in navigator)) return;
  try {
    await navigator.serviceWorker.register('service_worker.js');
    await navigator.serviceWorker.ready;
  } catch {
    return; // a browser that forbids it, as in private windows, runs the page all the same
  }
  if (self.crossOriginIsolated || sessionStorage.getItem(RELOADED)) return;
  sessionStorage.setItem(RELOADED, 'yes');
  location.reload();
  await new Promise(() => {}); // nothing more of this page
}

/** Keep the whole site for use without a network; resolves to whether it is kept. */
export async function keepOffline() {
  const worker = navigator.serviceWorker?.controller;
  if (!worker) return false;
  const kept = new Promise((resolve) => {
    navigator.serviceWorker.addEventListener('message', ({ data }) => data === 'kept' && resolve(true));
  });
  worker.postMessage('keep');
  return kept;
}
