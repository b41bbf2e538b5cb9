/** The service worker: this page works off line, and with threads on hosts that send no headers for them. */

import { messageOf } from "./dom";

const RELOADED = "reloaded for threads";

export async function keepOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    const { active } = await navigator.serviceWorker.ready;
    if (!crossOriginIsolated && active && !sessionStorage.getItem(RELOADED)) {
      sessionStorage.setItem(RELOADED, "yes"); // once: where it does not help, it is not tried again
      location.reload();
    }
  } catch (error) {
    console.warn(`This page will not work off line: ${messageOf(error)}`);
  }
}
