/** The service worker: this page works off line, and with threads on hosts that send no headers for them. */

import { messageOf, tell } from "./dom";

const VERSION = document.documentElement.dataset.version;

/** Loads the page anew once a new version is there: until then, the service worker gave out the old one. */
export function followUpdates(busy: () => boolean): void {
  if (!("serviceWorker" in navigator)) return;
  const workers = navigator.serviceWorker;
  let served = workers.controller !== null; // not at the first visit
  const updated = (reload: () => void) => {
    if (busy()) tell("A new version of this page is here: reload the page when your pictures are saved.");
    else reload();
  };
  workers.addEventListener("controllerchange", () => {
    if (served) updated(() => location.reload());
    served = true;
  });
  workers.addEventListener("message", ({ data, source }) => { // a new version may have come while this page opened
    if (source === workers.controller && data !== VERSION) updated(() => reload(`for version ${data}`, 3));
  });
  workers.controller?.postMessage("version");
  void workers.getRegistration().then((registration) => registration && hurry(registration));
}

export async function keepOffline(busy: () => boolean): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    if (!crossOriginIsolated && !busy()) reload("for threads", 1);
  } catch (error) {
    console.warn(`This page will not work off line: ${messageOf(error)}`);
  }
}

/** Loads the page anew, a few times at most for each reason: where it does not help, it is not tried forever. */
function reload(why: string, times: number): void {
  const before = Number(sessionStorage.getItem(why)); // another navigation may have replaced an earlier reload
  if (before >= times) return;
  sessionStorage.setItem(why, String(before + 1));
  location.reload();
}

/** Asks new versions to take over until they do: Chromium may leave one waiting that was installed while a page opened. */
function hurry(registration: ServiceWorkerRegistration): void {
  const ask = async (worker: ServiceWorker | null) => {
    while (worker && (worker.state === "installing" || worker.state === "installed")) {
      if (worker.state === "installed") worker.postMessage("take over");
      await new Promise((done) => setTimeout(done, 500));
    }
  };
  registration.addEventListener("updatefound", () => void ask(registration.installing));
  for (const worker of [registration.installing, registration.waiting]) void ask(worker);
}
