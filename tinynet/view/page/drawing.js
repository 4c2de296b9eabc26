// Arrays as images, and elements made of data.

// An element with these attributes and children; text is never read as HTML.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Whether a key is the browser's or the system's: Ctrl and + enlarge the page.
export const shortcut = (event) => event.ctrlKey || event.altKey || event.metaKey;

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function canvasOf(image) {
  const canvas = element("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Bytes (height, width, channels), gray or RGB, as a canvas to be drawn from.
export function picture(pixels, height, width, channels) {
  const image = new ImageData(width, height);
  for (let at = 0; at < height * width; at++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * at + channel] = pixels[channels === 3 ? 3 * at + channel : at];
    }
    image.data[4 * at + 3] = 255;
  }
  return canvasOf(image);
}

// Values from -most to most as a canvas: the stronger the more of the positive or the negative hue, zero like paper.
// Three colours from the style sheet, so that they are told apart in the dark, too.
export function heat(values, height, width, most) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim().split(" ").map(Number);
  const [zero, positive, negative] = ["--zero", "--positive", "--negative"].map(colour);
  const image = new ImageData(width, height);
  for (let at = 0; at < height * width; at++) {
    const share = Math.min(1, Math.abs(values[at]) / most) ** 0.7;  // weak ones are seen, too
    const full = values[at] > 0 ? positive : negative;
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * at + channel] = zero[channel] + share * (full[channel] - zero[channel]);
    }
    image.data[4 * at + 3] = 255;
  }
  return canvasOf(image);
}

export const percent = (share) => `${(100 * share).toFixed(2)} %`;

export const count = (number) => number.toLocaleString("en");

export function size(bytes) {
  return bytes < 1024 ? `${bytes} B` : bytes < 2 ** 20 ? `${(bytes / 1024).toFixed(1)} KiB`
    : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
