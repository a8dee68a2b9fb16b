// Reading a stream of pictures (multipart/x-mixed-replace) part by part. An <img> could show one too, but it says neither
// that its stream has ended nor why there is none.

const MOST_BYTES = 8 * 1024 * 1024;
const HEAD_END = [13, 10, 13, 10];

/** Yield the pictures of a response's body as blobs, until it ends. Raises what reading raises. */
export async function* pictures(body) {
  const reader = body.getReader();
  let held = new Uint8Array(0);
  try {
    for (;;) {
      const head = find(held, HEAD_END);
      const size = head < 0 ? null : length(held.subarray(0, head));
      if (size !== null && held.length >= head + HEAD_END.length + size) {
        const from = head + HEAD_END.length;
        yield new Blob([held.subarray(from, from + size)], { type: "image/jpeg" });
        held = held.slice(from + size);
        continue;
      }
      const { done, value } = await reader.read();
      if (done) return;
      held = joined(held, value);
      if (held.length > MOST_BYTES) throw new Error("the stream holds no pictures");
    }
  } finally {
    await reader.cancel().catch(() => {}); // it may have failed already: nothing is left to end
  }
}

function length(head) {
  const found = /content-length: *(\d+)/i.exec(new TextDecoder("latin1").decode(head));
  if (!found) throw new Error("a part of the stream does not say how long it is");
  return Number(found[1]);
}

function find(held, wanted) {
  for (let at = held.indexOf(wanted[0]); at >= 0; at = held.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, index) => held[at + index] === byte)) return at;
  }
  return -1;
}

function joined(first, second) {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
