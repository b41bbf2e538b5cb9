/** The queue: pictures wait, are cleaned one after the other, and stay to be looked at and saved. */

import type { Picture } from "../core/picture";
import type { DecodedPicture, Shape } from "../files/worker";
import type { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";
import type { Models } from "./models";

export interface Item {
  readonly file: File;
  readonly name: string;
  readonly row: HTMLButtonElement;
  state: "waiting" | "working" | "done" | "failed";
  note: string;
  /** The cleaned pixels; the browser may keep them on the disk. */
  cleaned: Blob | null;
  shape: Shape | null;
  /** Of the file, by its content; known once it is read. */
  kind: DecodedPicture["kind"];
  /** Grows each time that it is to be cleaned anew: a result of an older time is left. */
  turn: number;
}

export class Items {
  readonly all: Item[] = [];
  selected: Item | null = null;
  private running = false;
  private work: Promise<void> = Promise.resolve();
  private paused = false;
  private number = 0; // of the last call of `clean`

  constructor(
    private readonly network: Remote,
    private readonly files: Remote,
    private readonly models: Models,
    /** Called when the selected picture, or what is known of it, has changed; it is null if it cannot be read. */
    private readonly changed: (item: Item, picture: Picture | null) => void,
  ) {}

  add(files: readonly File[]): void {
    const first = this.all.length;
    for (const file of files) {
      const row = document.createElement("button");
      row.type = "button";
      row.className = "item";
      const item: Item = { file, name: file.name || "picture.png", row, state: "waiting", note: "", cleaned: null, shape: null, kind: "other", turn: 0 };
      row.onclick = () => {
        const failed = item.state === "failed";
        tell(failed ? item.note : `${item.name} is chosen.`, failed);
        void this.select(item);
      };
      const entry = document.createElement("li");
      entry.append(row);
      dom.queue.append(entry);
      this.all.push(item);
      this.say(item);
    }
    if (this.running) void this.select(this.all[first]);
    else {
      this.selected = this.all[first]; // it is shown when it is cleaned, which is now
      this.all.forEach((one) => this.say(one));
    }
    dom.clear.hidden = false;
    tell(`Cleaning ${files.length === 1 ? this.all[first].name : `${files.length} pictures`} …`);
    this.run();
  }

  /** Cleans all anew, with another model. */
  renew(): void {
    this.stop();
    for (const item of this.all) {
      if (item.state === "failed" && !item.shape) continue; // it cannot be read
      Object.assign(item, { state: "waiting", note: "", cleaned: null, turn: item.turn + 1 });
      this.say(item);
    }
    this.run();
  }

  /** Ends the work that is under way; it waits to be done anew. */
  stop(): void {
    void this.network.call("stop", { number: this.number });
  }

  /** Stops until `resume`. */
  pause(): void {
    this.paused = true;
    this.stop();
  }

  resume(): void {
    this.paused = false;
    this.run();
  }

  /** Forgets all pictures. */
  clear(): void {
    this.stop();
    this.all.length = 0;
    this.selected = null;
    dom.queue.replaceChildren();
    dom.clear.hidden = true;
    dom.save.disabled = dom.saveAll.disabled = true;
  }

  async select(item: Item): Promise<void> {
    this.selected = item;
    this.all.forEach((one) => this.say(one));
    try {
      this.changed(item, await this.decoded(item));
    } catch (error) {
      if (item !== this.selected) return;
      this.changed(item, null);
      tell(messageOf(error), true);
    }
  }

  /** Waits until no picture is to be cleaned. */
  async idle(): Promise<void> {
    while (this.running) await this.work;
  }

  private run(): void {
    if (!this.running) this.work = this.cleanAll();
  }

  private async cleanAll(): Promise<void> {
    this.running = true;
    try {
      for (let item; !this.paused && (item = this.next()); ) await this.clean(item);
    } finally {
      this.running = false;
      dom.progress.value = 0;
      dom.progress.classList.remove("on");
    }
  }

  private next(): Item | undefined {
    return this.selected?.state === "waiting" ? this.selected : this.all.find(({ state }) => state === "waiting");
  }

  private async clean(item: Item): Promise<void> {
    const { turn } = item, old = () => item.turn !== turn || !this.all.includes(item);
    item.state = "working";
    this.say(item);
    dom.progress.value = 0;
    dom.progress.classList.add("on");
    try {
      const picture = await this.decoded(item);
      await this.models.listed;
      if (old()) return;
      if (this.paused) throw new Error("stopped");
      const number = ++this.number, started = performance.now();
      if (item === this.selected) this.changed(item, picture);
      const cleaned = await this.network.call<Picture>("clean", { name: this.models.name, picture, number },
        ({ done, all }: { done: number; all: number }) => {
          if (old()) return;
          dom.progress.value = done / all;
          item.note = `${Math.round((100 * done) / all)} %`;
          this.say(item);
        });
      const seconds = (performance.now() - started) / 1000;
      if (old()) return;
      item.cleaned = new Blob([cleaned.data as Uint8Array<ArrayBuffer>]);
      item.state = "done";
      item.note = `${seconds.toFixed(1)} s`;
      if (item === this.selected) this.changed(item, picture);
      tell(`${item.name} is cleaned: ${picture.width} × ${picture.height} pixels in ${seconds.toFixed(1)} seconds.`);
    } catch (error) {
      if (old()) return;
      if (messageOf(error) === "stopped") {
        Object.assign(item, { state: "waiting", note: "" });
        return;
      }
      item.state = "failed";
      item.note = messageOf(error);
      if (item === this.selected && !item.shape) this.changed(item, null);
      tell(item.note, true);
    } finally {
      this.say(item);
    }
  }

  private async decoded(item: Item): Promise<Picture> {
    const { file, name } = item;
    const picture = await this.files.call<DecodedPicture>("decode", { file, name });
    const { width, height, channels, data, kind } = picture;
    Object.assign(item, { kind, shape: { width, height, channels, wide: data instanceof Uint16Array } });
    return picture;
  }

  private say(item: Item): void {
    if (!this.all.includes(item)) return; // it was removed meanwhile
    const states = { waiting: "waiting", working: item.note || "starting", done: item.note, failed: "failed" };
    const text = [item.name, states[item.state]].map((part) => {
      const span = document.createElement("span");
      span.textContent = part;
      return span;
    });
    item.row.replaceChildren(...text);
    item.row.title = item.state === "failed" ? item.note : item.name;
    item.row.dataset.state = item.state;
    item.row.setAttribute("aria-pressed", String(item === this.selected));
    const done = this.all.filter(({ state }) => state === "done").length;
    dom.save.disabled = this.selected?.state !== "done";
    dom.saveAll.disabled = done < 1 || this.all.some(({ state }) => state === "waiting" || state === "working");
  }
}
