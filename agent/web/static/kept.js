// Small choices that are kept in this browser. Where it keeps nothing, they hold until the page is left.

const PREFIX = "lookout.";
const here = new Map();

export function recall(name, otherwise) {
  if (here.has(name)) return here.get(name);
  try {
    const found = localStorage.getItem(PREFIX + name);
    return found === null ? otherwise : JSON.parse(found);
  } catch {
    return otherwise;
  }
}

export function keep(name, value) {
  here.set(name, value);
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // kept in `here`
  }
}
