#!/bin/sh
# Node on glibc: each value that an environment variable was ever given through process.env stays in memory.
#
# Guess: `process.env.X = value` replaces a value, so a program that sets one variable a million times needs no more memory than one that
#   sets it twice.
# Seen:  a million different values of 38 bytes take some 90 MiB that neither a collection nor a later value gives back; a million
#   assignments of two values that were there before take nothing. Node hands the text to setenv(3), and glibc keeps each "NAME=value" that it
#   has made, in a tree by which an equal one is found again, because somebody may still hold what getenv(3) gave. A platform that tells a
#   function an id of each call in its environment, as OpenWhisk's runtimes do, lets it grow by each call.
#
# Node 20.20.2 of the npm package `node`, Debian 12 (glibc 2.36), Linux 6.18.44. Printed:
#   different values: grew by 87 MiB
#   values that were there before: grew by 0 MiB
#   as found: each value stays
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" node@20.20.2
uname -sr
"$folder/node_modules/node/bin/node" --expose-gc - <<'JAVASCRIPT'
const mib = () => { gc(); return Math.round(process.memoryUsage().rss / 2 ** 20); };
const value = (number) => `value-${String(number).padStart(32, '0')}`;
const grew = (different) => {
  const before = mib();
  for (let i = 0; i < 1e6; i++) process.env.X = value(i % different);
  return mib() - before;
};
grew(50_000);
const other = grew(1e6);
const same = grew(2);
console.log(`different values: grew by ${other} MiB`);
console.log(`values that were there before: grew by ${same} MiB`);
if (other < 60 || same > 20) throw new Error('this has changed');
console.log('as found: each value stays');
JAVASCRIPT
