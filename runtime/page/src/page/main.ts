/** Puts the parts of the page together. */

import { loaded } from "../core/loaded";
import type { Picture } from "../core/picture";
import type { Strengths } from "../core/strengths";
import { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";
import { type Item, Items } from "./items";
import { Live } from "./live";
import { Models } from "./models";
import { followUpdates, keepOffline } from "./offline";
import { saveAll, saveOne } from "./save";
import { Viewer } from "./viewer";

const network = new Remote(new Worker(`network.js${location.search}`, { type: "module" }));
const files = new Remote(new Worker("files.js", { type: "module" }));
const viewer = new Viewer();
const models = new Models(network, () => items.renew(), () => items.idle());
const items = new Items(network, files, models, (item, picture) => {
  changed(item, picture).catch((error) => tell(messageOf(error), true));
});
const live = new Live(network, viewer, () => models.name, strengths, cameraEnded);

let shownOnes: { number: number; before: ImageBitmap; width: number; height: number; name: string } | null = null;
let holds = 0; // calls of `hold`
let blending: Promise<void> | null = null, blendAgain = false;

function strengths(): Strengths {
  return { brightness: Number(dom.strength.value) / 100, color: Number(dom.color.value) / 100 };
}

async function changed(item: Item, picture: Picture | null): Promise<void> {
  if (item !== items.selected) return;
  if (!picture) return showNothing();
  const { width, height } = picture, { cleaned, shape } = item, number = ++holds;
  const before = await files.call<ImageBitmap>("hold", { number, picture, cleaned, shape });
  if (live.running || number !== holds || item !== items.selected) return before.close();
  shownOnes = { number, before, width, height, name: `${item.name}, ${width} by ${height} pixels` };
  viewer.show(before, null, width, height, shownOnes.name);
  if (cleaned) reblend();
}

function showNothing(): void {
  shownOnes = null;
  void files.call("forget", { number: ++holds });
  if (!live.running) viewer.clear();
}

/** Shows the picture at the present strengths; while one is made, the next waits. */
function reblend(): void {
  if (blending) {
    blendAgain = true;
    return;
  }
  blending = (async () => {
    do {
      blendAgain = false;
      if (!shownOnes || items.selected?.state !== "done") continue;
      const of = shownOnes;
      const after = await files.call<ImageBitmap | null>("view", { number: of.number, strengths: strengths() });
      if (after && of === shownOnes && !live.running) viewer.show(of.before, after, of.width, of.height, of.name);
      else after?.close();
    } while (blendAgain);
  })().catch((error) => tell(messageOf(error), true)).finally(() => (blending = null));
}

function cameraEnded(): void {
  items.resume();
  if (items.selected) void items.select(items.selected);
  else viewer.clear();
}

/** Whether loading the page anew would lose something. */
function busy(): boolean {
  return items.all.length > 0 || live.busy || models.given;
}

function take(given: Iterable<File>): void {
  const all = [...given];
  if (!all.length) return;
  const pictures = all.filter(({ name }) => !/\.onnx$/i.test(name));
  for (const model of all.filter(({ name }) => /\.onnx$/i.test(name)))
    models.add(model).catch((error) => tell(messageOf(error), true));
  if (!pictures.length) return;
  live.stop();
  items.add(pictures);
}

function sliders(): void {
  let tied = true; // color follows until it is moved
  const say = () => {
    for (const [input, value] of [[dom.strength, dom.strengthValue], [dom.color, dom.colorValue], [dom.quality, dom.qualityValue]] as const)
      value.textContent = input === dom.quality ? input.value : `${input.value} %`;
    reblend();
  };
  dom.color.oninput = () => {
    tied = false;
    say();
  };
  dom.strength.oninput = () => {
    if (tied) dom.color.value = dom.strength.value;
    say();
  };
  dom.quality.oninput = say;
  dom.format.onchange = () => (dom.quality.disabled = dom.format.value === "png");
  say();
}

function wire(): void {
  const choose = () => dom.files.click();
  dom.open.onclick = dom.choose.onclick = choose;
  dom.files.onchange = () => {
    take(dom.files.files ?? []);
    dom.files.value = "";
  };
  dom.sample.onclick = async () => {
    try {
      const content = await (await loaded("sample.png", "The sample")).blob();
      take([new File([content], "sample.png", { type: "image/png" })]);
    } catch (error) {
      tell(messageOf(error), true);
    }
  };
  dom.camera.onclick = () => {
    if (live.running) return live.stop();
    items.pause();
    void live.start();
  };
  dom.save.onclick = () => items.selected && void saveOne(files, items.selected, strengths());
  dom.clear.onclick = () => {
    items.clear();
    showNothing();
    tell("All pictures are removed.");
    dom.open.focus();
  };
  dom.saveAll.onclick = () => void saveAll(files, items.all, strengths());
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer?.files ?? []);
  });
  window.addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
}

sliders();
wire();
followUpdates(busy);
const measured = models.start().then(() => models.addSpeed()).catch((error) => tell(messageOf(error), true));
// Where threads need the service worker it comes first: the page is then loaded anew, before it is used.
void (crossOriginIsolated ? measured : Promise.resolve()).then(() => keepOffline(busy));
