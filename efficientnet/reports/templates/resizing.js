// The evaluation crop, resized: the rule of efficientnet/images/resizing.py, which explains it.

const POLES = { 2: Math.sqrt(8) - 3, 3: Math.sqrt(3) - 2 };

function symmetric(half) {
  const whole = [...half.slice(1).reverse(), ...half], sum = whole.reduce((a, b) => a + b);
  return whole.map(value => value / sum);
}

function convolve(a, b) {
  const sums = new Array(a.length + b.length - 1).fill(0);
  a.forEach((x, i) => b.forEach((y, j) => { sums[i + j] += x * y; }));
  return sums;
}

function spline(x, order) {
  if (order === 0) return 1;
  if (order === 1) return 1 - x;
  if (order === 2) return x < 0.5 ? 0.75 - x ** 2 : (1.5 - x) ** 2 / 2;
  return x < 1 ? 2 / 3 - x ** 2 + x ** 3 / 2 : (2 - x) ** 3 / 6;
}

// For each new sample, the old samples that it is a mean of, from `start` on, and their weights.
function means(size, newSize, order) {
  const sigma = (size / newSize - 1) / 2, gaussian = i => Math.exp(-0.5 * (i / sigma) ** 2);
  let kernel = [1];
  if (sigma > 0 && order) kernel = symmetric(Array.from({ length: Math.floor(4 * sigma + 0.5) + 1 }, (_, i) => gaussian(i)));
  if (order in POLES) kernel = convolve(kernel, symmetric(Array.from({ length: 11 }, (_, i) => POLES[order] ** i)));
  const period = Math.max(1, 2 * (size - 1)), middle = kernel.length >> 1;
  return Array.from({ length: newSize }, (_, index) => {
    const center = (index + 0.5) * (size / newSize) - 0.5, first = Math.floor(center - (order - 1) / 2);
    const weights = new Float64Array(size);
    for (let tap = 0; tap <= order; tap++) {
      const share = spline(Math.abs(center - first - tap), order);
      kernel.forEach((weight, place) => {
        const column = Math.abs(first + tap + place - middle) % period;
        weights[Math.min(column, period - column)] += share * weight;
      });
    }
    const start = weights.findIndex(Boolean), stop = weights.findLastIndex(Boolean) + 1;
    return { start, weights: weights.slice(start, stop) };
  });
}

// Levels of a square, (side, side, channels), resized to (newSide, newSide, channels).
function resize(levels, side, newSide, channels, order) {
  const rows = means(side, newSide, order), stride = side * channels;
  const low = new Float32Array(newSide * stride);
  rows.forEach(({ start, weights }, row) => {
    const target = low.subarray(row * stride, (row + 1) * stride);
    weights.forEach((weight, place) => {
      const from = (start + place) * stride;
      for (let i = 0; i < stride; i++) target[i] += weight * levels[from + i];
    });
  });
  let least = 255, most = 0;
  for (const level of levels) { if (level < least) least = level; if (level > most) most = level; }
  const small = new Float32Array(newSide * newSide * channels);
  for (let row = 0; row < newSide; row++) {
    rows.forEach(({ start, weights }, column) => {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0, from = row * stride + start * channels + channel;
        for (const weight of weights) { sum += weight * low[from]; from += channels; }
        small[(row * newSide + column) * channels + channel] = Math.min(Math.max(sum, least), most);
      }
    });
  }
  return small;
}
