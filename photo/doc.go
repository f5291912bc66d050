// Package photo reads and writes picture files for restoration.
//
// [Read] goes by a file's content, never by its name. It gives the pixels
// upright and, where the colour profile is one this package can convert, in
// sRGB, as one of four opaque types: [image.NRGBA], [image.NRGBA64],
// [image.Gray] or [image.Gray16]. What cannot be restored by looking at
// colours travels beside them: the alpha plane and [Meta]. [Photo.With]
// puts both back around a restored picture of any size, and [Write] puts the
// result in a file, whole or not at all:
//
//	p, err := photo.Read("old.jpg", photo.ReadOptions{})
//	...
//	out, err := model.Restore(ctx, p.Image, options)
//	...
//	err = photo.Write("new.png", p.With(out), photo.WriteOptions{})
//
// Read: JPEG, PNG, TIFF, WebP, GIF and BMP. Written: JPEG, PNG and TIFF.
//
// # Metadata
//
// EXIF, XMP and the colour profile are carried into the result. What would
// be wrong about the result is taken out: orientation (the pixels are upright
// now), pixel sizes, and embedded thumbnails, which show the picture as it
// was. GPS positions are taken out too unless [ReadOptions.KeepGPS] is set;
// place names written as text, and whatever a camera hides in its maker note,
// stay. IPTC records, JPEG comments and extended XMP are not carried.
//
// # Memory
//
// A picture's size is checked from its header, before memory for its pixels
// is taken: see [ReadOptions.MaxPixels].
package photo
