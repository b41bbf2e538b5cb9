/** Serves the page's own files from a cache, and adds the headers that threads need; other files are none of its business. */

declare const FILES: readonly string[]; // set by build.mjs: what is kept from the first visit on
declare const LATER: readonly string[]; // what is kept once it was used: the files for WebGPU
declare const HEADERS: Readonly<Record<string, string>>;
declare const VERSION: string;

const worker = self as unknown as ServiceWorkerGlobalScope;
const PREFIX = "cae-page-", CACHE = PREFIX + VERSION;
const OWN = new Set([...FILES, ...LATER].map((name) => new URL(name, location.href).href));

worker.addEventListener("install", (event) => {
  const files = FILES.map((name) => new Request(name, { cache: "no-cache" })); // an older one may lie in the browser's cache
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)).then(() => worker.skipWaiting()));
});

worker.addEventListener("message", (event) => { // from a page: browsers may forget to let a new version take over
  event.waitUntil(worker.skipWaiting());
  event.source?.postMessage(VERSION);
});

worker.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
    await worker.clients.claim();
  })());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event, { origin, pathname } = new URL(request.url);
  if (request.method === "GET" && OWN.has(origin + pathname)) event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE), kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const fresh = await fetch(request);
  if (fresh.status === 200) await cache.put(request, fresh.clone());
  return isolated(fresh);
}

function isolated(answered: Response): Response {
  if (answered.status === 0) return answered;
  const headers = new Headers(answered.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(answered.body, { status: answered.status, statusText: answered.statusText, headers });
}
