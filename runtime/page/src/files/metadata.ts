/** What a file says besides its pixels, as far as this page keeps it. */

export interface Metadata {
  /** A TIFF structure, without `Exif\0\0`. */
  readonly exif: Uint8Array | null;
  readonly icc: Uint8Array | null;
  /** An XMP packet, UTF-8. */
  readonly xmp: Uint8Array | null;
}
