/** A zip file of files that are made one after the other. */

import { Zip, ZipPassThrough } from "fflate";

const LARGEST = 2 ** 32 - 2 ** 24; // bytes; beyond 4 GiB a zip needs records that fflate does not write

export async function zipped(names: readonly string[], made: (index: number) => Promise<Blob>, largest = LARGEST): Promise<Blob> {
  const parts: Blob[] = [];
  let failed: Error | null = null, size = 0;
  const zip = new Zip((error, part) => {
    failed ??= error;
    parts.push(new Blob([part as Uint8Array<ArrayBuffer>])); // the browser may keep it on the disk
  });
  for (const [index, name] of names.entries()) {
    const entry = new ZipPassThrough(name), content = await made(index);
    size += content.size;
    if (size > largest)
      throw new Error("These pictures fill more than 4 GB, the most that a zip file holds: save them one by one, or as JPEG.");
    zip.add(entry);
    entry.push(new Uint8Array(await content.arrayBuffer()), true);
    if (failed) throw failed;
  }
  zip.end();
  return new Blob(parts, { type: "application/zip" });
}
