// The current time.
function main() {
  return { date: new Date().toISOString() };
}
