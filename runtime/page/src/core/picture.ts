/** Decoded pictures, as the workers pass them on. */

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** 1 gray, 2 gray and alpha, 3 color, 4 color and alpha; the values of a pixel lie side by side, R, G, B. */
  readonly channels: number;
  readonly data: Uint8Array | Uint16Array;
}

/** How many of the channels are colors; what follows is alpha. */
export function colorsOf(picture: Picture): number {
  return picture.channels > 2 ? 3 : 1;
}

export function hasAlpha(picture: Picture): boolean {
  return picture.channels % 2 === 0;
}

/** The largest value of a pixel. */
export function whiteOf(picture: Picture): number {
  return picture.data instanceof Uint16Array ? 65535 : 255;
}

export function emptyLike(picture: Picture): Picture {
  const data = picture.data instanceof Uint16Array
    ? new Uint16Array(picture.data.length)
    : new Uint8Array(picture.data.length);
  return { ...picture, data };
}

/** The nearest integer, halves to the even one, for |value| < 2 ** 51. */
export function rint(value: number): number {
  return value + 6755399441055744 - 6755399441055744; // 1.5 * 2 ** 52: what is below 1 is rounded away
}

/** The colors of 8 bits that a canvas shows, RGBA. */
export function shown({ width, height, channels, data }: Picture): ImageData {
  const wide = data instanceof Uint16Array;
  if (channels === 4 && !wide) return new ImageData(new Uint8ClampedArray(data), width, height);
  const image = new ImageData(width, height), to = image.data;
  const gray = channels < 3, alpha = channels % 2 === 0;
  for (let i = 0, from = 0, at = 0; i < width * height; i++, from += channels, at += 4) {
    const value = (channel: number) => (wide ? data[from + channel] / 257 : data[from + channel]);
    to[at] = value(0);
    to[at + 1] = value(gray ? 0 : 1);
    to[at + 2] = value(gray ? 0 : 2);
    to[at + 3] = alpha ? value(channels - 1) : 255;
  }
  return image;
}
