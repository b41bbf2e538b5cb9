/** The service worker: this page works off line, and with threads on hosts that send no headers for them. */

import { messageOf, tell } from "./dom";

const RELOADED = "reloaded for threads";

/** Loads the page anew once a new version is there: until then, the service worker gave out the old one. */
export function followUpdates(busy: () => boolean): void {
  if (!("serviceWorker" in navigator)) return;
  let served = navigator.serviceWorker.controller !== null; // not at the first visit
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (served && busy()) tell("A new version of this page is here: reload the page when your pictures are saved.");
    else if (served) location.reload();
    served = true;
  });
}

export async function keepOffline(busy: () => boolean): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    if (!crossOriginIsolated && !busy() && !sessionStorage.getItem(RELOADED)) {
      sessionStorage.setItem(RELOADED, "yes"); // once: where it does not help, it is not tried again
      location.reload();
    }
  } catch (error) {
    console.warn(`This page will not work off line: ${messageOf(error)}`);
  }
}
