/** Saves one picture, or all of them in a zip. */

import type { Strengths } from "../core/strengths";
import type { Format } from "../files/encode";
import type { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";
import type { Item } from "./items";

const SUFFIXES: Record<Format, string> = { png: "png", jpeg: "jpg", webp: "webp" };
const LATER = 60_000; // milliseconds until a saved file is forgotten

let saving = false;

export async function saveOne(files: Remote, item: Item, strengths: Strengths): Promise<void> {
  await said(async () => {
    const format = formatFor(item);
    tell(`Saving ${cleanName(item, format)} …`);
    const blob = await files.call<Blob>("save", toSave(item, strengths, format));
    download(blob, cleanName(item, format));
    return `${cleanName(item, format)} is saved.`;
  });
}

export async function saveAll(files: Remote, items: readonly Item[], strengths: Strengths): Promise<void> {
  await said(async () => {
    const used = new Set<string>();
    const all = items.filter(({ state }) => state === "done").map((item) => {
      const format = formatFor(item);
      return { ...toSave(item, strengths, format), as: unused(cleanName(item, format), used) };
    });
    const blob = await files.call<Blob>("zip", { all }, ({ done, all: count }: { done: number; all: number }) =>
      tell(`Saving ${done} of ${count} …`));
    download(blob, "cleaned.zip");
    return `cleaned.zip is saved, with ${all.length} ${all.length === 1 ? "picture" : "pictures"}.`;
  });
}

export function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), LATER);
}

async function said(work: () => Promise<string>): Promise<void> {
  if (saving) return tell("Wait until the files before are saved.");
  saving = true; // the button stays enabled: a disabled one would lose the keyboard's focus
  try {
    tell(await work());
  } catch (error) {
    tell(messageOf(error), true);
  } finally {
    saving = false;
  }
}

function toSave({ file, name, cleaned, shape }: Item, strengths: Strengths, format: Format) {
  return { file, name, cleaned, shape, strengths, format, quality: Number(dom.quality.value) / 100 };
}

/** The format that is chosen, or that of the source: other kinds become PNG. */
function formatFor({ kind }: Item): Format {
  if (dom.format.value !== "same") return dom.format.value as Format;
  return kind === "other" ? "png" : kind;
}

function cleanName({ name }: Item, format: Format): string {
  return `${name.replace(/\.[^.]*$/, "")}_clean.${SUFFIXES[format]}`;
}

function unused(name: string, used: Set<string>): string {
  const dot = name.lastIndexOf(".");
  let free = name;
  for (let number = 2; used.has(free); number++) free = `${name.slice(0, dot)}-${number}${name.slice(dot)}`;
  used.add(free);
  return free;
}
