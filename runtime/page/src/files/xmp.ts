/** XMP packets: which may stay, and that of a picture whose pixels were turned upright. */

const SPEAKS_OF_PARTS = new RegExp(
  [
    "MotionPhoto|MicroVideo|OLivePhoto|VideoLength",
    "http://ns\\.google\\.com/photos/(?:1\\.0/(?:container|depthmap|image|audio)|dd)/",
    "http://ns\\.adobe\\.com/hdr-gain-map/|http://ns\\.apple\\.com/HDRGainMap/",
    "HasExtendedXMP|:Thumbnails|:provenance",
  ].join("|"),
);
const TURNED = /(tiff:Orientation(?:\s*=\s*["']|>\s*))[2-8]/g;

/** A packet that stays true; null if it speaks of a video, a gain map or other parts that only the source has. */
export function trueXmp(packet: Uint8Array | null | undefined): Uint8Array | null {
  const text = packet && textOf(packet);
  return text && !SPEAKS_OF_PARTS.test(text) ? new TextEncoder().encode(text) : null;
}

/** A copy that says that the pixels are upright. */
export function uprightXmp(packet: Uint8Array): Uint8Array {
  return new TextEncoder().encode((textOf(packet) ?? "").replace(TURNED, "$11"));
}

/** The text of a packet; null if it is not UTF-8. */
function textOf(packet: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(packet).replace(/\0+$/, "");
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}
