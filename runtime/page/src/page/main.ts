/** Puts the parts of the page together. */

import type { Picture } from "../core/picture";
import type { Strengths } from "../core/strengths";
import { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";
import { type Item, Items } from "./items";
import { Live } from "./live";
import { Models } from "./models";
import { keepOffline } from "./offline";
import { saveAll, saveOne } from "./save";
import { Viewer } from "./viewer";

const network = new Remote(new Worker(`network.js${location.search}`, { type: "module" }));
const files = new Remote(new Worker("files.js", { type: "module" }));
const viewer = new Viewer();
const models = new Models(network, () => items.renew(), () => items.idle());
const items = new Items(network, files, models, (item, picture) => void changed(item, picture));
const live = new Live(network, viewer, () => models.name, strengths, cameraEnded);

let shownOnes: { number: number; before: ImageBitmap; width: number; height: number } | null = null;
let holds = 0; // calls of `hold`
let blending: Promise<void> | null = null, blendAgain = false;

function strengths(): Strengths {
  return { brightness: Number(dom.strength.value) / 100, color: Number(dom.color.value) / 100 };
}

async function changed(item: Item, picture: Picture): Promise<void> {
  if (item !== items.selected) return;
  const { width, height } = picture, { cleaned, shape } = item, number = ++holds;
  const before = await files.call<ImageBitmap>("hold", { number, picture, cleaned, shape });
  if (live.running || number !== holds || item !== items.selected) return before.close();
  shownOnes = { number, before, width, height };
  viewer.show(before, null, width, height);
  dom.canvas.setAttribute("aria-label", `${item.name}, ${width} by ${height} pixels`);
  if (cleaned) reblend();
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
      if (after && of === shownOnes && !live.running) viewer.show(of.before, after, of.width, of.height);
    } while (blendAgain);
  })().catch((error) => tell(messageOf(error), true)).finally(() => (blending = null));
}

function cameraEnded(): void {
  items.resume();
  if (items.selected) void items.select(items.selected);
  else viewer.show(null, null, 1, 1);
}

function take(given: Iterable<File>): void {
  const all = [...given];
  if (!all.length) return;
  live.stop();
  const pictures = all.filter(({ name }) => !/\.onnx$/i.test(name));
  for (const model of all.filter(({ name }) => /\.onnx$/i.test(name)))
    models.add(model).catch((error) => tell(messageOf(error), true));
  if (pictures.length) items.add(pictures);
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
    const answer = await fetch("sample.png");
    if (answer.ok) take([new File([await answer.blob()], "sample.png", { type: "image/png" })]);
    else tell("The sample cannot be loaded.", true);
  };
  dom.camera.onclick = () => {
    if (live.running) return live.stop();
    items.pause();
    void live.start();
  };
  dom.save.onclick = () => items.selected && void saveOne(files, items.selected, strengths());
  dom.clear.onclick = () => {
    items.clear();
    shownOnes = null;
    if (!live.running) viewer.show(null, null, 1, 1);
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
models.start().then(() => models.addSpeed()).then(keepOffline).catch((error) => tell(messageOf(error), true));
