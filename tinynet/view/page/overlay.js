// The crop on a canvas, with one image laid over it and rectangles around parts of it.

const PIXELATED = 100;  // crops of so few pixels a side show each of them; larger ones are smoothed

// overlay: null or { image, at, smooth, opacity }; at, the rectangle that it fills, null for all of the crop.
// frames: [{ at, dashed }]. Rectangles are [top, left, height, width] in pixels of the crop.
export function drawOver(canvas, crop, overlay, frames) {
  const context = canvas.getContext("2d");
  const scale = canvas.width / crop.width;
  const paint = (image, [top, left, height, width], smooth) => {
    context.imageSmoothingEnabled = smooth;
    context.drawImage(image, left * scale, top * scale, width * scale, height * scale);
  };
  const all = [0, 0, crop.height, crop.width];
  context.globalAlpha = 1;
  paint(crop, all, crop.width > PIXELATED);
  if (overlay) {
    context.globalAlpha = overlay.opacity;
    paint(overlay.image, overlay.at ?? all, overlay.smooth);
    context.globalAlpha = 1;
  }
  for (const frame of frames) drawFrame(context, frame.at.map((length) => length * scale), frame.dashed);
}

// Black on white, so that it is seen on any picture.
function drawFrame(context, [top, left, height, width], dashed) {
  for (const [colour, lineWidth] of [["white", 6], ["black", 3]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth });
    context.setLineDash(dashed && colour === "black" ? [10, 8] : []);
    context.strokeRect(left, top, width, height);
  }
  context.setLineDash([]);
}

// The pixel of a side x side square under the pointer, [row, column].
export function pixelAt(event, side) {
  const box = event.currentTarget.getBoundingClientRect();
  return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]
    .map((share) => Math.min(side - 1, Math.max(0, Math.floor(share * side))));
}
