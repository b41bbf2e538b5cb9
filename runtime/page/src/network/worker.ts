/** The worker that runs networks. Calls wait for each other, since a session runs one at a time. */

import { loaded } from "../core/loaded";
import type { Picture } from "../core/picture";
import { cleaned } from "../core/restore";
import { backend } from "./backend";
import { type Opened, opened } from "./network";
import { serve } from "./served";

/** What the page is told of a model that was opened. */
export interface ModelFacts {
  readonly where: string;
  readonly why: string;
}

const MOST_OPEN = 3;
const LARGEST_MODEL = 256 * 2 ** 20;

const chosen = backend(); // begun before it is asked for: the page opens sooner
chosen.catch(() => undefined);
let turn: Promise<unknown> = Promise.resolve();
let stopped = 0; // calls of `clean` up to this number end
const networks = new Map<string, Promise<Opened>>();
const given = new Map<string, Blob>(); // files that a person dropped

class Stopped extends Error {}

serve({
  add: ({ name, file }: { name: string; file: Blob }) =>
    inTurn(async () => {
      const one = await load(name, file); // a file that is no model replaces none
      release(name);
      given.set(name, file);
      networks.set(name, Promise.resolve(one));
      return { result: null };
    }),
  open: ({ name }: { name: string }) => inTurn(async () => ({ result: await facts(name) })),
  speed: ({ name }: { name: string }) =>
    inTurn(async () => ({ result: await (await network(name)).speed() })),
  clean: ({ name, picture, number }: { name: string; picture: Picture; number: number }, tell) =>
    inTurn(async () => {
      const one = await network(name);
      const result = await cleaned(picture, one, async (done, all) => {
        tell({ done, all });
        await messagesHeard();
        if (number <= stopped) throw new Stopped("stopped");
      });
      return { result, transfer: [result.data.buffer] };
    }),
  stop({ number }: { number: number }) {
    stopped = number;
    return { result: null };
  },
});

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const mine = turn.then(work);
  turn = mine.catch(() => undefined);
  return mine;
}

async function facts(name: string): Promise<ModelFacts> {
  const one = await network(name), { threads } = await chosen;
  const cpu = `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return { where: one.gpu ? "WebGPU" : cpu, why: one.why };
}

function network(name: string): Promise<Opened> {
  const known = networks.get(name) ?? load(name, given.get(name));
  networks.delete(name);
  networks.set(name, known); // the last one used is the last to go
  for (const old of networks.keys()) {
    if (networks.size <= MOST_OPEN) break;
    release(old);
  }
  known.catch(() => networks.delete(name));
  return known;
}

function release(name: string): void {
  void networks.get(name)?.then((unused) => unused.close()).catch(() => undefined);
  networks.delete(name);
}

async function load(name: string, own?: Blob): Promise<Opened> {
  const address = new URL(`./models/${name}.onnx`, import.meta.url);
  const file = own ?? (await (await loaded(address, `The model ${name}`)).blob());
  if (file.size > LARGEST_MODEL) throw new Error(`${name} is larger than 256 MB: this page does not open it.`);
  return opened(new Uint8Array(await file.arrayBuffer()), name, await chosen);
}

/** Lets messages in, such as `stop`. */
function messagesHeard(): Promise<void> {
  return new Promise((heard) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      heard();
    };
    port2.postMessage(null);
  });
}
