// Splits `payload` at `separator`, by default at line ends.
function main({ payload = '', separator = /\r?\n/ }) {
  const lines = String(payload).split(separator);
  return { lines, payload };
}
